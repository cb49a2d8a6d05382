"""Writes a pipeline file after what was proposed."""

import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from backfill.report.wording import counted
from backfill.scaffold.json_schema import schema_uri
from backfill.scaffold.setting_docs import ABOUT
from backfill.scaffold.setting_lines import Setting, comment
from backfill.scaffold.source_tables import Proposal

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")

_TEMPLATES = Environment(  # noqa: S701  # it writes TOML; the values are quoted as TOML
    loader=PackageLoader("backfill.scaffold", ""),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def pipeline_text(proposals: Sequence[Proposal], rows: int, path: Path) -> str:
    """The text of a pipeline file.

    Args:
        proposals: Its sources.
        rows: How many rows were looked at.
        path: Where it is to be written.
    """
    return _TEMPLATES.get_template("pipeline.toml.j2").render(
        schema=schema_uri(),
        rows=counted(rows, "row"),
        open=open_keys(proposals),
        file=path.name,
        name=_lines([Setting("name", _job_name(path), ABOUT["name"])]),
        rejected_max=_lines([Setting("rejected_max", "1%", ABOUT["rejected_max"])]),
        destination=_lines(
            Setting(key, value, ABOUT[key], on)
            for key, value, on in (
                ("api", "v2", True),
                ("region", "us", True),
                ("url", "http://127.0.0.1:8025", False),
                ("credentials", "customerio.toml", False),
                ("rate", 100, True),
            )
        ),
        sources=[
            {
                "remarks": "\n".join(chain.from_iterable(map(comment, each.remarks))),
                "settings": _lines(each.settings),
                "columns": _lines(each.columns),
            }
            for each in proposals
        ],
    )


def open_keys(proposals: Sequence[Proposal]) -> list[str]:
    """The keys that somebody has to decide."""
    return [f"source[{n}].{key}" for n, each in enumerate(proposals, 1) for key in each.open]


def _lines(settings: Iterable[Setting]) -> str:
    return "\n".join(chain.from_iterable(each.lines() for each in settings))


def _job_name(path: Path) -> str:
    """The file's own name, or its folder's where that says nothing."""
    name = path.stem if path.stem != "pipeline" else path.resolve().parent.name
    return _NO_NAME.sub("-", name).strip("._-")[:100] or "history"
