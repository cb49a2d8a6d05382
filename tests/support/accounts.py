"""What a run says that it did, held against what the sandbox counted meanwhile."""

import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.programs import Command, Ended
from tests.support.workspaces import Workspace

IN_DOUBT = frozenset(
    {
        "lost_answer",
        "malformed_json",
        "reset_after",
        "slow_body",
        "slow_headers",
        "truncated_body",
        "wrong_type",
    }
)
"""Faults that apply a request without its sender knowing: it is sent again, and counted again."""


STATE_LOST = 6
"""The exit code of a run whose journal could not take down what it sent."""


@dataclass(frozen=True, slots=True)
class Account:
    """What a sandbox has counted until now.

    Args:
        stats: The counters.
        fired: How often each kind of fault has happened; `in_doubt` stands for some of them.
    """

    stats: Counter[str]
    fired: Counter[str]

    @classmethod
    def of(cls, workspace: Workspace) -> "Account":
        """Ask for it."""
        fired: Counter[str] = Counter()
        for fault in workspace.faults():
            in_doubt = fault.get("applied", fault["kind"] in IN_DOUBT)
            fired["in_doubt" if in_doubt else fault["kind"]] += fault["fired"]
        stats = Counter(workspace.stats())
        # A segment that is filled is no operation of a row: it counts as a request alone.
        stats["operations"] -= workspace.breakdown()["kinds"].get("add_customers", 0)
        return cls(stats, fired)


class Audit:
    """Holds what each run of a test says that it did against what the sandbox counted meanwhile.

    Args:
        sandbox: Where they send to.
        folder: Where they leave their summaries.
        together: Whether several may send at the same time: nobody can tell then whose a request
            was, and the sandbox may have counted more than any of them says.
    """

    def __init__(self, sandbox: Workspace, folder: Path, *, together: bool) -> None:
        self._sandbox = sandbox
        self._folder = folder
        self._together = together
        self._commands: list[Command] = []

    def begin(self, arguments: Sequence[object]) -> Callable[[Command], None]:
        """Open the account of a command that is about to start; gives what takes the command."""
        if self._sandbox.url not in arguments:
            return lambda _: None
        before, written = Account.of(self._sandbox), self._summaries()
        others = [*self._commands]
        assert self._together or not any(each.is_running for each in others), "see sends_together"

        def end(command: Command, ended: Ended) -> None:
            summary = self._summary(ended, written)
            if ended.code >= 0 and summary:
                knows_all = ended.code != STATE_LOST and not any(map(_gave_up, [*others, command]))
                is_alone = knows_all and not self._together
                after = Account.of(self._sandbox)
                check_account(summary, before, after, is_alone=is_alone)
                if is_alone:
                    check_refused(summary, before, after)

        def watch(command: Command) -> None:
            self._commands.append(command)
            command.at_end = lambda ended: end(command, ended)

        return watch

    def _summary(self, ended: Ended, before: Mapping[Path, int]) -> dict[str, Any] | None:
        """What a command printed as its summary or, without `--json`, wrote meanwhile."""
        lines = ended.stdout.splitlines()
        if lines and lines[-1].startswith('{"job":'):
            return json.loads(lines[-1])
        written = [path for path, at in self._summaries().items() if before.get(path) != at]
        return json.loads(written[0].read_bytes()) if written else None

    def _summaries(self) -> dict[Path, int]:
        """The summaries in the folder, with the moment each was written."""
        return {path: path.stat().st_mtime_ns for path in self._folder.rglob("summary.json")}


def _gave_up(command: Command) -> bool:
    """Whether requests may still have been on their way at its end: killed, or signalled twice."""
    return signal.SIGKILL in command.signals or len(command.signals) > 1


@contextmanager
def accounted(sandbox: Workspace, folder: Path) -> Iterator[None]:
    """Hold the one run that is done meanwhile against what the sandbox counts, however it is done.

    For runs in a terminal, out of a crontab, from another program: `Audit` sees all others.
    """
    before = Account.of(sandbox)
    yield
    last = max(folder.rglob("summary.json"), key=lambda path: path.stat().st_mtime_ns)
    after = Account.of(sandbox)
    check_account(json.loads(last.read_bytes()), before, after, is_alone=True)


def check_account(
    summary: Mapping[str, Any], before: Account, after: Account, *, is_alone: bool
) -> None:
    """Hold what one call did against what the sandbox counted from its start to its end.

    Args:
        summary: What it said in the end.
        before: The account at its start.
        after: The account at its end.
        is_alone: Whether nothing else can have arrived meanwhile, and the call knows of all that
            it sent. Else more may have arrived than it says, never less.
    """
    run = summary["this_run"]
    came = Counter(after.stats)
    came.subtract(before.stats)
    fired = after.fired - before.fired
    told = f"{dict(run)} against {dict(came)} with {dict(fired)}"
    accepted = came["operations"] - came["rejected_operations"]
    delivered = run["delivered"] + _vanished(summary)
    dropped = fired["drop_above"]  # requests accepted, and thrown away without a word
    assert dropped or accepted >= delivered, told
    if not is_alone:
        return
    look_ups = came["requests"] - run["attempts"]
    assert came["bytes"] == run["bytes_sent"], told
    assert dropped or fired["in_doubt"] or accepted == delivered, told
    assert came["timestamps_replaced"] == 0, told
    if fired:  # look-ups may have failed, and requests have taken several attempts
        assert look_ups >= (run["attempts"] > 0), told
    else:
        assert look_ups == 1 or (look_ups == run["attempts"] == 0), told
        assert run["attempts"] == run["requests"], told


def _vanished(summary: Mapping[str, Any]) -> int:
    """People whom a sync deleted because no row names them any more: no row is delivered."""
    is_said = any(each["kind"] == "deletions" for each in summary["sources"])
    return 0 if is_said else summary["this_run"]["deletes"]


def check_refused(summary: Mapping[str, Any], before: Account, after: Account) -> None:
    """Every refused operation is a row that is rejected for it, or several rows of a person.

    Or it is the deletion of someone whom no row names any more. A fault may refuse a request whole,
    which leaves rows behind and no operation.
    """
    fired = after.fired - before.fired
    operations = after.stats["rejected_operations"] - before.stats["rejected_operations"]
    rows = summary["rejections_by_reason"].get("refused", 0) + summary["deletes_refused"]
    told = f"{operations} operations refused, {rows} rows rejected for it, with {dict(fired)}"
    assert operations <= rows or fired["in_doubt"], told
    is_first = summary["this_run"]["requests"] == summary["requests"]
    has_people = any(each["kind"] == "customers" for each in summary["sources"])
    if is_first and not has_people and fired.keys() <= {"latency", "refuse_items"}:
        assert operations == rows, told
