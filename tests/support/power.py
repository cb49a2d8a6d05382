"""A simulated disk whose power can be cut, below the journal's real code.

SQLite writes to it through its file-system interface (https://sqlite.org/vfs.html), and each write,
truncation, deletion and sync is taken down in order. `Platter.after_cut` then says what a real disk
might hold if the power had failed at some moment: what was synced is there; of what was not, each
write is kept, dropped, torn, or has become garbage. The idea is that of SQLite's own crash tests.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Literal

import apsw

SECTOR_BYTES = 512
Images = Mapping[str, bytes]
"""The content of each file that exists, by its path."""

_names = count(1)


@dataclass(frozen=True, slots=True)
class Write:
    """Something that was done to a file, and is not yet on the platter.

    Args:
        file: The path.
        kind: What was done. A file begins to exist with its first write.
        offset: Where it was written, or the new size.
        data: What was written.
    """

    file: str
    kind: Literal["write", "truncate", "delete"]
    offset: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Sync:
    """All that was done to a file before is on the platter now."""

    file: str


class Disk(apsw.VFS):
    """Files in memory, and all that was done to them.

    Args:
        images: The files that exist at the beginning.
    """

    def __init__(self, images: Images) -> None:
        self.name = f"disk-{next(_names)}"
        self.files = {path: bytearray(data) for path, data in images.items()}
        self.events: list[Write | Sync] = []
        self.failing = False  # a sync that fails, as when a cable is loose
        super().__init__(self.name, "")

    def xOpen(self, name, flags):  # noqa: N802
        """Open a file, or make it."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        flags[1] = flags[0]
        self.files.setdefault(path, bytearray())
        return File(self, path)

    def xDelete(self, path, syncdir):  # noqa: N802
        """Delete a file."""
        if path not in self.files:
            raise apsw.exception_for(apsw.SQLITE_IOERR_DELETE_NOENT)
        del self.files[path]
        self.events.append(Write(path, "delete"))
        if syncdir:
            self.events.append(Sync(path))

    def xAccess(self, path, flags):  # noqa: N802, ARG002
        """Say whether a file exists."""
        return path in self.files


class File:
    """An open file of a `Disk`."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path

    @property
    def _data(self) -> bytearray:
        return self._disk.files.setdefault(self._path, bytearray())

    def xRead(self, amount, offset):  # noqa: N802
        """Give what was written last."""
        return bytes(self._data[offset : offset + amount])

    def xWrite(self, data, offset):  # noqa: N802
        """Write, for now into the disk's memory."""
        write = Write(self._path, "write", offset, bytes(data))
        apply(self._disk.files, write)
        self._disk.events.append(write)

    def xTruncate(self, size):  # noqa: N802
        """Cut a file off."""
        write = Write(self._path, "truncate", size)
        apply(self._disk.files, write)
        self._disk.events.append(write)

    def xSync(self, flags):  # noqa: N802, ARG002
        """Bring to the platter what was written."""
        self._disk.events.append(Sync(self._path))
        if self._disk.failing:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    def xFileSize(self):  # noqa: N802
        """How long the file is."""
        return len(self._data)

    def xLock(self, level):  # noqa: N802
        """Nobody else is here."""

    def xUnlock(self, level):  # noqa: N802
        """Nobody else was here."""

    def xCheckReservedLock(self):  # noqa: N802
        """Nobody else is here."""
        return False

    def xSectorSize(self):  # noqa: N802
        """As the operating system's: 4096 bytes are written at once, as far as it knows."""
        return 4096

    def xDeviceCharacteristics(self):  # noqa: N802
        """As the operating system's: a write leaves the bytes beside it alone."""
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xFileControl(self, op, ptr):  # noqa: N802, ARG002
        """No special requests are understood."""
        return False

    def xClose(self):  # noqa: N802
        """Nothing to do."""


@dataclass(slots=True)
class Platter:
    """What is safely stored, and what was done since to each file, as the events go by."""

    files: dict[str, bytearray]
    loose: list[Write] = field(default_factory=list)

    def pass_by(self, event: Write | Sync) -> None:
        """Take up the next event."""
        if isinstance(event, Write):
            self.loose.append(event)
            return
        for write in self.loose:
            if write.file == event.file:
                apply(self.files, write)
        self.loose = [write for write in self.loose if write.file != event.file]

    def after_cut(self, random: Random) -> Images:
        """What the disk may hold if the power failed now.

        Half of the disks bring writes to the platter in their order, so that all up to some
        write are there and that one may be torn; the others in any order.
        """
        files = {path: bytearray(data) for path, data in self.files.items()}
        if random.random() < 0.5:
            reached = random.randint(0, len(self.loose))
            fates = ["kept"] * reached + [random.choice(["torn", "garbage", "dropped"])]
        else:
            fates = random.choices(
                ["kept", "dropped", "torn", "garbage"], [4, 4, 1, 1], k=len(self.loose)
            )
        for write, fate in zip(self.loose, fates, strict=False):
            _suffer(files, write, fate, random)
        return {path: bytes(data) for path, data in files.items()}


def apply(files: dict[str, bytearray], write: Write) -> None:
    """Do to the files what the write says."""
    if write.kind == "delete":
        files.pop(write.file, None)
        return
    data = files.setdefault(write.file, bytearray())
    if write.kind == "truncate":
        data[write.offset :] = bytes(max(0, write.offset - len(data)))
        return
    if len(data) < write.offset:
        data.extend(bytes(write.offset - len(data)))
    data[write.offset : write.offset + len(write.data)] = write.data


def _suffer(files: dict[str, bytearray], write: Write, fate: str, random: Random) -> None:
    if fate == "dropped":
        return
    if fate == "kept" or write.kind != "write":
        apply(files, write)
        return
    sectors = max(1, len(write.data) // SECTOR_BYTES)
    at = random.randrange(sectors) * SECTOR_BYTES
    if fate == "torn":
        data = write.data[:at]
    else:
        garbage = random.randbytes(min(SECTOR_BYTES, len(write.data) - at))
        data = write.data[:at] + garbage + write.data[at + len(garbage) :]
    apply(files, Write(write.file, "write", write.offset, data))
