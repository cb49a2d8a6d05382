"""`backfill init`: look at files or a database, and write a pipeline file for them."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.cli.exits import Ending, say, shown
from backfill.cli.flags import DatabaseOptions, OutputOptions, command, flat
from backfill.errors import ExitCode, UsageError

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.commands.watch import Watch
    from backfill.scaffold import Ask, AskedRows, FileProfile, Proposal, Question
    from backfill.sources.databases import DatabaseAddress
    from backfill.sources.interface import Location

PIPELINE_FILE = Path("pipeline.toml")


@flat
def init(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Files or folders of CSV, JSON Lines or Parquet, also s3:// gs:// az:// https://;"
            " or a database: postgresql://…, sqlite:///FILE, duckdb:///FILE, or env:VARIABLE that"
            " holds its address.",
        ),
    ],
    showing: OutputOptions,
    rows_of: DatabaseOptions,
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
    from backfill.scaffold import AskedRows, nobody, passed_over, pipeline_text, propose
    from backfill.sources.inputs import name_of

    _refuse_existing(output)
    _check_zone(timezone)
    here = sys.stdin.isatty() and sys.stderr.isatty()
    ask = _asked if here and not yes else nobody
    databases, files = _told_apart(sources)
    asked = AskedRows(rows_of.table or (), rows_of.query or ())
    if not databases and (asked.tables or asked.queries):
        raise UsageError(
            "--table and --query are about a database, and none is named",
            next_step="name its address, such as postgresql://USER@HOST/DATABASE or env:VARIABLE",
        )
    with _watched(quiet=showing.quiet) as watch:
        looks = _look(files, output.parent, ask, encoding, watch)
        looks += _look_at_databases(databases, asked, output.parent, watch)
    proposals = propose(looks, timezone, ask)
    if not proposals:
        raise UsageError(
            "every file was left out: there is nothing to write", next_step="name other files"
        )
    rows = sum(each.rows for each in looks)
    others = [name_of(each, output.parent) for each in passed_over(files)]
    with output.open("x", encoding="utf-8") as file:  # it may have come to be meanwhile
        file.write(pipeline_text(proposals, rows, output, others))
    unset = [each.variable for each in databases if each.variable not in os.environ]
    return _ending(output, proposals, rows, others, unset)


def _told_apart(sources: Sequence[str]) -> "tuple[list[DatabaseAddress], list[Location]]":
    """The databases among what was named, and the files."""
    from backfill.scaffold import address_of, shows_password
    from backfill.sources.globs import location

    databases, files = [], []
    for each in sources:
        address = address_of(each, os.environ)
        if address is None:
            files.append(location(each))
            continue
        databases.append(address)
        if shows_password(each):
            say(
                "careful: a password on the command line is seen by others on this machine, and"
                " kept in the shell's history; env:VARIABLE in its place names where it is"
            )
    return databases, files


@contextmanager
def _watched(*, quiet: bool) -> "Iterator[Watch]":
    from backfill.cli.terminal import view_for
    from backfill.clock import Clock
    from backfill.commands.watch import Watch

    watch = Watch(view_for(quiet=quiet), Clock().now_s, lambda *_: True)
    try:
        yield watch
    finally:
        watch.ended(None)


def _look(
    files: "Sequence[Location]", folder: Path, ask: "Ask", encoding: str | None, watch: "Watch"
) -> list["FileProfile"]:
    from backfill.scaffold import look_at, text_formats
    from backfill.sources.objects import Objects

    objects = Objects()
    formats = text_formats(files, ask, encoding, objects)
    return look_at(formats, files, folder, watch.checked, objects)


def _look_at_databases(
    databases: "Sequence[DatabaseAddress]", asked: "AskedRows", folder: Path, watch: "Watch"
) -> list["FileProfile"]:
    from backfill.scaffold import look_at_database

    return [
        look
        for each in databases
        for look in look_at_database(each, asked, folder, watch.extracted, watch.checked)
    ]


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
    output: Path,
    proposals: "Sequence[Proposal]",
    rows: int,
    others: Sequence[str],
    unset: Sequence[str],
) -> Ending:
    import orjson

    from backfill.cli.terminal import wrapped
    from backfill.report.wording import counted
    from backfill.scaffold import in_one_line, open_keys, some

    still_open = open_keys(proposals)
    check = command("check", output)
    if unset:
        check = f"set {unset[0]} to the address of the database; then: {check}"
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
