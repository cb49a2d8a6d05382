"""Writes what a scheduler needs, ready to be installed; how is said in each file's first lines."""

import shlex
from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from backfill.errors import MEANINGS, RESUMABLE, UsageError
from backfill.schedule import quoting
from backfill.schedule.nightly import Form, Nightly

CRON_CHARACTERS_MAX = 990
"""Cron takes lines of up to 998 characters (RFC 5322's limit in its mails), and cuts the rest."""

_TEMPLATES: Mapping[Form, Mapping[str, str]] = {
    "cron": {"crontab.j2": "{name}.crontab"},
    "systemd": {
        "systemd.service.j2": "backfill-{name}.service",
        "systemd.timer.j2": "backfill-{name}.timer",
    },
    "kubernetes": {"kubernetes.yaml.j2": "backfill-{name}.yaml"},
}

_ENVIRONMENT = Environment(  # noqa: S701  # no HTML; each form has a quoting of its own
    loader=PackageLoader("backfill.schedule", ""),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters.update(
    cron=quoting.cron,
    shell=shlex.quote,
    systemd=quoting.systemd,
    systemd_path=quoting.systemd_path,
    yaml=quoting.yaml,
)


def files(nightly: Nightly, form: Form) -> dict[str, str]:
    """The files that start a nightly sync, by name.

    Args:
        nightly: What is started, and when.
        form: The scheduler.

    Raises:
        UsageError: A path is too long for a crontab.
    """
    made = {
        name.format(name=nightly.name): _ENVIRONMENT.get_template(template).render(
            it=nightly,
            label=quoting.label(nightly.name),
            exits=MEANINGS,
            final=sorted(int(code) for code in MEANINGS if code and code not in RESUMABLE),
            log=str(_log(nightly)),
            files=[each.format(name=nightly.name) for each in _TEMPLATES[form].values()],
        )
        for template, name in _TEMPLATES[form].items()
    }
    if form == "cron":
        _check_lines(made)
    return made


def _log(nightly: Nightly) -> str:
    # A folder that is there before the first night: else the shell would not even start us.
    return str(nightly.pipeline_file.with_name(f"{nightly.name}.log"))


def _check_lines(made: Mapping[str, str]) -> None:
    longest = max(len(line) for text in made.values() for line in text.splitlines())
    if longest > CRON_CHARACTERS_MAX:
        raise UsageError(
            f"the crontab line would have {longest} characters, and cron accepts"
            f" {CRON_CHARACTERS_MAX}",
            next_step="use shorter paths, or --format systemd",
        )
