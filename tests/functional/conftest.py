"""What the tests of the whole program share: a way to start it, and a workspace to send to."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support import terminals
from tests.support.accounts import Audit
from tests.support.checker import check_law, check_secrecy
from tests.support.programs import Command, Ended, forking
from tests.support.terminals import Shown, Then
from tests.support.workspaces import Workspace, workspace


@pytest.fixture(scope="session")
def _start():
    """Starts processes of the program."""
    with forking() as start:
        yield start


@pytest.fixture(scope="session")
def _workspace():
    """One sandbox for all tests."""
    with workspace() as shared:
        yield shared


@pytest.fixture
def sandbox(_workspace: Workspace):
    """A workspace where nothing ever arrived, and which behaves well."""
    _workspace.reset()
    yield _workspace
    _workspace.check_schema()


@pytest.fixture
def clean_env():
    """The environment of a user who has no credentials set, and whose terminal says its size."""
    ours = ("CUSTOMERIO_", "COLUMNS", "LINES")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)}


@pytest.fixture
def audit(request, sandbox, tmp_path):
    """Holds the figures of every run that is started against those of the sandbox."""
    together = request.node.get_closest_marker("sends_together") is not None
    return Audit(sandbox, tmp_path, together=together)


@pytest.fixture
def start(_start, request, tmp_path, clean_env):
    """Start the program in the test's own folder and go on; takes its arguments."""
    running: list[Command] = []
    audit = request.getfixturevalue("audit") if "sandbox" in request.fixturenames else None

    def started(
        *arguments, cwd: Path = tmp_path, env: Mapping[str, str] | None = None, **more
    ) -> Command:
        watch = audit.begin(arguments) if audit else lambda _: None
        command = _start(*arguments, cwd=cwd, env={**clean_env, **(env or {})}, **more)
        watch(command)
        running.append(command)
        return command

    yield started
    check_secrecy(tmp_path, [command.kill() for command in running])


@pytest.fixture
def backfill(start):
    """Run the program to its end; takes its arguments."""
    return lambda *arguments, **more: start(*arguments, **more).ended()


@pytest.fixture
def in_terminal(start):
    """Run the program to its end in a terminal; takes its arguments, gives what was shown."""

    def shown(
        *arguments, columns: int, typed: str = "", script: Sequence[Then] = (), **more
    ) -> Shown:
        env = {"TERM": "xterm", **more.pop("env", {}), "LANG": "C.UTF-8"}
        return terminals.in_terminal(
            lambda terminal: start(*arguments, terminal=terminal, env=env, **more),
            columns=columns,
            typed=typed,
            script=script,
        )

    return shown


@pytest.fixture
def start_sending(start, sandbox):
    """Start sending into the sandbox; takes the pipeline file and more arguments."""

    def started(pipeline: Path, *more, command: str = "run", **others) -> Command:
        url = () if "--url" in more else ("--url", sandbox.url)
        arguments = (command, pipeline, *more, *url, "--rate", "0", "--json")
        return start(*arguments, cwd=pipeline.parent, **others)

    return started


@pytest.fixture
def send(start_sending):
    """Send into the sandbox; whatever happens, every row must be accounted for."""

    def sent(*arguments, **more) -> Ended:
        ended = start_sending(*arguments, **more).ended()
        check_law(ended.summary)
        assert ended.summary["exit"] == ended.code
        return ended

    return sent


@pytest.fixture
def look(backfill):
    """Check or plan a pipeline; gives how that ended."""
    return lambda pipeline, *more, command="check", **others: backfill(
        command, pipeline, *more, "--json", cwd=pipeline.parent, **others
    )
