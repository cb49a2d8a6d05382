"""`backfill demo`: the whole job, into a workspace that exists only meanwhile."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backfill.cli.exits import Ending, shown
from backfill.cli.flags import OutputOptions, SendOptions, Workers, flat
from backfill.errors import ExitCode

if TYPE_CHECKING:  # the library loads slowly, and `--help` does not need it
    from backfill.cli.session import Sent
    from backfill.report.summary import Summary

DEMO_FOLDER = Path(".backfill") / "demo"


@flat
def demo(
    showing: OutputOptions,
    state_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the demo keeps its state.")
    ] = DEMO_FOLDER,
    workers: Workers = "1",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the sandbox open until Ctrl-C.")
    ] = False,
) -> Ending:
    """Send a sample shop's history into a sandbox; read it back.

    No account, nothing to set up, and keys that are set in the environment are not used.
    """
    from dataclasses import replace

    from backfill.cli import session
    from backfill.cli.samples import expected_rejections, sample_pipeline
    from backfill.commands import run, verify
    from backfill.pipeline.file import Pipeline
    from backfill.sandbox import running

    pipeline = Pipeline.load(sample_pipeline())
    asked = SendOptions(
        str(state_dir),
        restart=True,
        yes=True,
        workers=workers,
        json=showing.json,
        quiet=showing.quiet,
    )
    with running() as sandbox:
        options = replace(asked.options(), url=sandbox.url, env={})  # the sandbox's own keys
        done = session.send(pipeline, asked, options, run.run, name="run")
        proved = verify.verify(pipeline, options)
        ending = _ending(done, proved, _held_by(sandbox.url), expected_rejections())
        if keep and ending.code == ExitCode.DELIVERED:
            if not (showing.json or showing.quiet):
                typer.echo(ending.text)
            typer.echo(f"sandbox: {sandbox.url}, until Ctrl-C", err=True)
            _wait_for_ctrl_c()
            return replace(ending, text="")
    return ending


def _ending(
    done: "Sent", proved: "Summary", held: Mapping[str, int], expected: Mapping[str, int]
) -> Ending:
    """How it ends.

    Args:
        done: What was sent.
        proved: The same with what was read back.
        held: What the sandbox counted.
        expected: The rejected rows by reason, as they should be.
    """
    from dataclasses import replace

    from backfill.cli.terminal import width

    summary = done.summary
    found = dict(summary.rejections_by_reason)
    differences = _differences(found, expected)
    error = f"the demo should have rejected {differences}" if differences else ""
    if proved.exit:
        error = "the sandbox does not hold what the demo sent"
    code = ExitCode.BUG if error else ExitCode.DELIVERED
    rows = shown(done.rejected_file) if done.rejected_file else "none"
    text = (
        f"{summary.text(width())}\n"
        f"The sandbox holds {held['people']:,} people and {held['events']:,} events.\n"
        f"Rejected rows: {rows}\n"
        f"Report: {shown(done.report_file)}\n"
        "\nRead back with `backfill verify`:\n\n"
        f"{proved.verification.text(summary.job, width()) if proved.verification else ''}"
    )
    return Ending(
        code,
        _next_step(rows, code),
        text,
        replace(
            summary, exit=code, verified=proved.verified, verification=proved.verification
        ).to_json(),
        error,
    )


def _next_step(rows: str, code: ExitCode) -> str:
    if code != ExitCode.DELIVERED:
        return "report this, with the output of --json"
    return f"look at {rows}; then describe your own files: backfill init FILE…"


def _held_by(url: str) -> Mapping[str, int]:
    """What the sandbox counted."""
    import json
    import urllib.request

    with urllib.request.urlopen(f"{url}/sandbox/stats") as answer:  # noqa: S310  # our own sandbox
        counted: Mapping[str, int] = json.load(answer)
    return counted


def _differences(found: Mapping[str, int], expected: Mapping[str, int]) -> str:
    codes = sorted(found.keys() | expected.keys())
    return ", ".join(
        f"{expected.get(code, 0)} rows as {code} and rejected {found.get(code, 0)}"
        for code in codes
        if expected.get(code, 0) != found.get(code, 0)
    )


def _wait_for_ctrl_c() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
