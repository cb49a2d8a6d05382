"""A bucket in memory whose time is virtual, and which loses answers, or is out, when it is told."""

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from threading import Barrier, get_ident

from obstore.store import MemoryStore

from backfill.clock import Clock
from backfill.errors import UnavailableError
from backfill.sources.stores import ObjectStore


class StoreTime:
    """A clock that moves when somebody waits; what is planned for a time happens then."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.planned: list[tuple[float, object]] = []

    def at(self, wait_s: float, do) -> None:
        """Let something happen after so many seconds."""
        self.planned.append((self.now_s + wait_s, do))
        self.planned.sort(key=lambda each: each[0])

    def sleep(self, wait_s: float) -> None:
        """Let time pass."""
        until_s = self.now_s + wait_s
        while self.planned and self.planned[0][0] <= until_s:
            self.now_s, do = self.planned.pop(0)
            do()
        self.now_s = until_s

    @property
    def clock(self) -> Clock:
        """What a run takes."""
        return Clock(lambda: self.now_s, lambda: self.now_s, self.sleep, lambda: 0.5)


class VirtualStore(ObjectStore):
    """A store in memory whose clock is virtual, too, and whose answers may be lost."""

    def __init__(self, time: StoreTime) -> None:
        super().__init__(MemoryStore(), "s3://acme", time.clock, 30.0)
        self.time = time
        self.written_s: dict[str, float] = {}
        self.lost_answers: Counter[str] = Counter()
        self.is_out = False
        self.ignores = ""
        self.reading: set[int] = set()
        self.all_have_read = Barrier(5)
        self.before_write = None
        """What happens, once, before the lock is written."""

    def lose_answers_of(self, name: str, count: int) -> None:
        """Write so often without saying so: whoever asks again is refused."""
        self.lost_answers[name] = count

    def put_if(self, path, content, replaced):
        """Write it; note when."""
        if path.endswith("lock") and (happens := self.before_write):
            self.before_write = None
            happens()
        if self.is_out:
            raise UnavailableError("s3://acme: could not be reached for 30 s")
        if self.ignores == ("update" if replaced else "create"):
            self.put(path, content)
            replaced = super().get(path).revision
        made = super().put_if(path, content, replaced)
        if made is None:
            return None
        self.written_s[path] = self.time.now_s
        name = path.rpartition("/")[2]
        self.lost_answers[name] -= 1
        return made if self.lost_answers[name] < 0 else super().put_if(path, content, replaced)

    def get(self, path):
        """Read it, with the virtual time at which it was written, to the second."""
        found = super().get(path)
        if path.endswith("lock") and get_ident() in self.reading:
            self.reading.remove(get_ident())
            self.all_have_read.wait()
        if found is None:
            return None
        modified = datetime.fromtimestamp(int(self.written_s.get(path, 0.0)), UTC)
        return dataclasses.replace(found, modified=modified)
