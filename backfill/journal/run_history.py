"""The history of a job: every call of the program on it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backfill.journal import schema
from backfill.journal.database import Database
from backfill.journal.values import Run


class Runs:
    """The runs that a journal remembers; like all in it, durable at the journal's next commit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, started_at: str) -> int:
        """Take down that a run began, and give its number.

        Args:
            started_at: When, as ISO 8601.
        """
        ((number,),) = self._database.figures(schema.NEXT_RUN)
        self._database.put(schema.PUT_RUN, [schema.run_row(Run(number, started_at))])
        return int(number)

    def finish(
        self, number: int, finished_at: str, exit_code: int, summary: Mapping[str, Any]
    ) -> None:
        """Take down how a run ended.

        Args:
            number: As `start` gave it.
            finished_at: When, as ISO 8601.
            exit_code: The exit code.
            summary: What it reported; only JSON values.
        """
        (row,) = self._database.rows(schema.RUN, (number,))
        run = replace(schema.run_of(row), finished_at=finished_at, exit=exit_code, summary=summary)
        self._database.put(schema.PUT_RUN, [schema.run_row(run)])

    def keep(self, count: int) -> None:
        """Forget all but the last so many runs."""
        self._database.run(schema.DELETE_RUNS, [(count,)])

    def all(self) -> list[Run]:
        """Every run, the first one first."""
        return [schema.run_of(row) for row in self._database.rows(schema.RUNS)]
