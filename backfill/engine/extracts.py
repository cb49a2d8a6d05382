"""The extracts of a job: which of them its rows go by, and when the database is asked again.

    <job>/extracts/<key>.<token>/       one file for each query, and for stdin; whole
    <job>/extracts/<key>.<token>.part/  what is being extracted, or was when it was killed

A call that has sent something by an extract goes on with it until all of it is settled, whatever
becomes of the database. One that was cut short before goes on with what it had extracted. Any
other call extracts anew.
"""

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from backfill.errors import BackfillError, ExitCode, StateError, UsageError, as_ours
from backfill.files import sync_directory
from backfill.job import Job, pending_of, rows_read
from backfill.journal import Journal
from backfill.journal.directory import own_folder
from backfill.pipeline.file import Pipeline
from backfill.sources.extraction import (
    OnExtracted,
    extract,
    extracted_sources,
    extraction_key,
)
from backfill.sources.inputs import extract_file

if TYPE_CHECKING:  # a look at the files counts nothing
    from backfill.engine.accounting import Account

EXTRACTS_FOLDER = "extracts"
_MAKING = ".part"
_META = "extracts"
"""In the journal's meta: the folder that rows went by, and whether all of them are settled."""

_FOR_THE_USER = (ExitCode.USAGE, ExitCode.SOURCE_CHANGED, ExitCode.GUARD)
"""Whoever has to change something wants to see the rows as they are then."""


class Extracts:
    """What is extracted for one call, while it holds the job's journal.

    Args:
        pipeline: The settings.
        journal: What is settled.
        folder: The job's state directory.
    """

    def __init__(self, pipeline: Pipeline, journal: Journal, folder: Path) -> None:
        self._pipeline = pipeline
        self._sources = extracted_sources(pipeline)
        self._meta = journal.meta
        self._folder = folder / EXTRACTS_FOLDER
        self._used = ""
        self._only_known = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self.ended(as_ours(error))

    def files(
        self,
        env: Mapping[str, str],
        told: OnExtracted,
        *,
        only_known: bool = False,
        anew: bool = False,
    ) -> dict[int, Path]:
        """The file of each source that is extracted, by its index; extracted now if need be.

        Args:
            env: Where the addresses of databases are.
            told: Is told how an extraction goes on.
            only_known: The rows that were sent are wanted, and no others: for a retry.
            anew: Whatever was extracted is forgotten: for a restart, whose journal is empty.

        Raises:
            BackfillError: As for `extract`.
            StateError: What rows were sent by is gone.
        """
        if not self._sources:
            return {}
        self._only_known = only_known
        left = "" if anew else self._left()
        self._used = self._known(only_known=only_known) or left or self._new(env, told)
        made = self._folder / self._used
        return {index: extract_file(made, index, each) for index, each in self._sources.items()}

    def _known(self, *, only_known: bool) -> str:
        """The folder that rows went by, if this call goes by it, too; empty: it does not."""
        known = self._meta.get(_META, {})
        name = known.get("folder", "")
        unchanged = name.partition(".")[0] == extraction_key(self._pipeline)
        if not name or not (only_known or (unchanged and not known["done"])):
            if only_known:
                raise UsageError("nothing was extracted yet", next_step="run the pipeline first")
            return ""
        if not (self._folder / name).is_dir():
            raise StateError(
                f"{self._folder / name}: the rows that were extracted are gone, and rows were sent"
                " by them",
                next_step="restore the state directory from a backup, or start over with --restart:"
                " events keep their ids, so what was sent before counts once",
            )
        return str(name)

    def _left(self) -> str:
        """What a call has extracted that was cut short; empty: there is none."""
        key, used = extraction_key(self._pipeline), self._meta.get(_META, {}).get("folder")
        left = [
            path.name
            for path in own_folder(self._folder).iterdir()
            if path.name.partition(".")[0] == key
            and not path.name.endswith(_MAKING)
            and path.name != used
            and not path.is_symlink()
        ]
        return max(left, key=lambda name: (self._folder / name).stat().st_mtime, default="")

    def _new(self, env: Mapping[str, str], told: OnExtracted) -> str:
        self._keep_only(self._meta.get(_META, {}).get("folder"))
        name = f"{extraction_key(self._pipeline)}.{secrets.token_hex(4)}"
        making = own_folder(self._folder) / (name + _MAKING)
        making.mkdir(mode=0o700)
        try:
            extract(self._pipeline, making, env, told)
            making.rename(self._folder / name)
            sync_directory(self._folder)
        except OSError as error:
            # What a write to an open file raises does not name the file.
            error.filename = str(self._folder)
            raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
        return name

    def adopt(self) -> None:
        """From the journal's next commit on rows go by what this call has extracted."""
        if self._used and self._meta.get(_META, {}).get("folder") != self._used:
            self._meta[_META] = {"folder": self._used, "done": False}

    def settled(self) -> None:
        """All rows of it are settled: with the journal's next commit it is done with."""
        if self._used and self._meta.get(_META, {}).get("folder") == self._used:
            self._meta[_META] = {"folder": self._used, "done": True}

    def ended(self, error: BackfillError | None) -> None:
        """Remove what no call will go by any more.

        Args:
            error: What ended the call; None: nothing.
        """
        if not self._sources or self._only_known:
            return
        used = self._meta.get(_META, {}).get("folder")
        if error is None or error.exit_code in _FOR_THE_USER or self._used == used:
            self._keep_only(used)

    def _keep_only(self, name: str | None) -> None:
        for path in own_folder(self._folder).iterdir():
            if path.name != name and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def is_settled(account: "Account", *, held_too: bool) -> bool:
    """Whether every row of a job is settled, so that the next call is about new rows.

    Args:
        account: What is known of the call.
        held_too: Rows that wait until they are 72 hours old count as settled: a sync finds them
            again in what it extracts the next night.
    """
    job: Job = account.job
    if account.plan is None or account.turned_back or job.limit is not None:
        return False
    pending = sum(pending_of(job.journal, rows_read(job, account.plan)).values())
    return pending == (sum(account.tally.held.values()) if held_too else 0)
