"""`backfill init`: look at files that nobody has described, and write a pipeline file."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.cli.exits import Ending, say, shown
from backfill.cli.flags import OutputOptions, command, flat
from backfill.errors import ExitCode, UsageError

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.scaffold import FileProfile, Proposal, Question, TextFormat

PIPELINE_FILE = Path("pipeline.toml")


@flat
def init(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV, JSON Lines or Parquet, or folders of them."),
    ],
    showing: OutputOptions,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The file to write.")
    ] = PIPELINE_FILE,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE", help="The time zone of timestamps without one: Europe/Berlin."
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(metavar="CODEC", help="The encoding of text that is not UTF-8: cp1252."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nothing; what the files do not prove stays open.")
    ] = False,
) -> Ending:
    """Inspect files and write a pipeline file for them."""
    from backfill.scaffold import nobody, passed_over, pipeline_text, propose, text_formats

    _refuse_existing(output)
    _check_zone(timezone)
    here = sys.stdin.isatty() and sys.stderr.isatty()
    ask = _asked if here and not yes else nobody
    formats = text_formats(files, ask, encoding)
    looks = _look(formats, files, output.parent, quiet=showing.quiet)
    proposals = propose(looks, timezone, ask)
    if not proposals:
        raise UsageError(
            "every file was left out: there is nothing to write", next_step="name other files"
        )
    rows = sum(each.rows for each in looks)
    others = [os.path.relpath(each, output.parent) for each in passed_over(files)]
    with output.open("x", encoding="utf-8") as file:  # it may have come to be meanwhile
        file.write(pipeline_text(proposals, rows, output, others))
    return _ending(output, proposals, rows, others)


def _look(
    formats: "dict[Path, TextFormat]", files: Sequence[Path], folder: Path, *, quiet: bool
) -> list["FileProfile"]:
    from backfill.cli.terminal import view_for
    from backfill.clock import Clock
    from backfill.commands.watch import Watch
    from backfill.scaffold import look_at

    watch = Watch(view_for(quiet=quiet), Clock().now_s, lambda *_: True)
    try:
        return look_at(formats, files, folder, watch.checked)
    finally:
        watch.ended(None)


def _refuse_existing(output: Path) -> None:
    if output.exists():
        raise UsageError(
            f"{shown(output)}: already exists, and is not overwritten",
            next_step="name another file with -o FILE, or move this one",
        )
    if not output.parent.is_dir():
        raise UsageError(
            f"{shown(output.parent)}: no such folder",
            next_step="create it, or name another with -o",
        )


def _check_zone(timezone: str | None) -> None:
    from backfill.scaffold import zone

    if timezone is None:
        return
    try:
        zone(timezone)
    except ValueError as error:
        raise UsageError(f"--timezone: {error}", next_step="give one of these names") from None


def _asked(question: "Question") -> str:
    """A person's answer; an empty one is the default."""
    from backfill.cli.session import input_from_person
    from backfill.cli.terminal import wrapped

    answers = " | ".join(question.choices)
    default = f"[{question.default}] " if question.default else "[Enter: leave it open] "
    say("\n".join(wrapped("", question.text)))
    while True:
        line = input_from_person(f"  {answers}{' ' if answers else ''}{default}")
        if not line:
            raise KeyboardInterrupt  # the end of what a person has to say
        answer = line.strip() or question.default
        complaint = _complaint(question, answer)
        if not complaint:
            return answer
        say("\n".join(wrapped("  ", complaint)))


def _complaint(question: "Question", answer: str) -> str:
    """Why an answer cannot be taken; empty: it can."""
    if answer and question.choices and answer not in question.choices:
        return f"one of: {', '.join(question.choices)}"
    try:
        question.check(answer)
    except ValueError as error:
        return str(error)
    return ""


def _ending(
    output: Path, proposals: "Sequence[Proposal]", rows: int, others: Sequence[str]
) -> Ending:
    import orjson

    from backfill.cli.terminal import wrapped
    from backfill.report.wording import counted
    from backfill.scaffold import in_one_line, open_keys, some

    still_open = open_keys(proposals)
    check = command("check", output)
    said = f"{shown(output)}: made from {counted(rows, 'row')}, each line with its evidence"
    lines = [*wrapped("", said), ""]
    for each in proposals:
        lines += wrapped("  ", ", ".join(each.files))
        for remark in each.remarks:
            lines += wrapped("    ", in_one_line(remark))
    if others:
        lines += wrapped("  ", f"not looked at, since the format is unknown: {some(others)}")
    result = {
        "exit": ExitCode.DELIVERED,
        "pipeline": str(output),
        "rows_read": rows,
        "open": still_open,
        "passed_over": list(others),
        "sources": [
            {"kind": each.kind, "files": each.files, "remarks": each.remarks} for each in proposals
        ],
    }
    keys = ", ".join(still_open)
    return Ending(
        ExitCode.DELIVERED,
        f"decide {keys} in {shown(output)}; then: {check}" if still_open else check,
        "\n".join(lines) + "\n",
        orjson.dumps(result),
    )
