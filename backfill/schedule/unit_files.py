"""Writes what a scheduler needs, ready to be installed; how is said in each file's first lines."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from backfill.errors import MEANINGS, RESUMABLE, ExitCode, UsageError
from backfill.schedule.nightly import Form, Nightly

_NO_FAILURES = {ExitCode.DELIVERED, ExitCode.REJECTIONS, *RESUMABLE}

LABEL_CHARACTERS_MAX = 40
"""Kubernetes allows 52 for a CronJob; its jobs and pods add their own endings."""

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


def cron(words: Sequence[str]) -> str:
    r"""A command in a crontab: quoted for the shell, with `%` kept from cron (crontab(5)).

    >>> print(cron(["ls", "100 %"]))
    ls '100 \%'
    """
    return shlex.join(words).replace("%", r"\%")


def systemd(words: Sequence[str]) -> str:
    """A command line in a unit file, absolute program first (systemd.service(5)).

    >>> print(systemd(["/bin/ls", "100 %", "$x"]))
    /bin/ls "100 %%" $$x
    """
    if set(words[0]) & set("\"'\\"):  # systemd starts no such program by itself
        words = ["/usr/bin/env", *words]
    program, *arguments = map(systemd_path, words)
    return " ".join([program, *(each.replace("$", "$$") for each in arguments)])


def systemd_path(path: str) -> str:
    """A path in a list of paths in a unit file (systemd.syntax(7)); a `%` begins a specifier."""
    text = path.replace("%", "%%")
    if re.fullmatch(r"[\w./:=@$%,+-]+", text, re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def yaml(value: object) -> str:
    """A value in YAML: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def label(name: str) -> str:
    """A name as Kubernetes allows it: lower case, digits and '-' (RFC 1123).

    >>> label("Acme_History.2024")
    'acme-history-2024'
    """
    text = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return text[:LABEL_CHARACTERS_MAX].strip("-")


_ENVIRONMENT.filters.update(
    cron=cron,
    shell=shlex.quote,
    shell_words=shlex.join,
    systemd=systemd,
    systemd_path=systemd_path,
    yaml=yaml,
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
            label=label(nightly.name),
            exits=MEANINGS,
            final=sorted(int(code) for code in MEANINGS if code not in _NO_FAILURES),
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
