"""Rejections as lines of JSON, the form in which they wait to be reported."""

from collections.abc import Iterator
from pathlib import Path

import orjson

from backfill.rows import Reason, Rejection


def rejection_line(part: int, rejection: Rejection) -> bytes:
    """One rejection of a part as a line."""
    return orjson.dumps(
        {
            "part": part,
            "row": rejection.row,
            "line": rejection.line,
            "reasons": [[each.code, each.field, each.message] for each in rejection.reasons],
            "cells": rejection.cells,
            "raw": rejection.raw,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def read_rejections(path: Path) -> Iterator[tuple[int, Rejection]]:
    """The rejections of a file of such lines, with their parts, as they were written."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            each = orjson.loads(line)
            yield (
                each["part"],
                Rejection(
                    each["row"],
                    each["line"],
                    tuple(Reason(*reason) for reason in each["reasons"]),
                    each["cells"],
                    each["raw"],
                ),
            )
