"""Values on their way between processes: pickled, with their large buffers beside them.

Pickle's protocol 5 leaves buffers out of the pickle (https://peps.python.org/pep-0574/). A parcel
lies in a file that the receiver maps into its memory: a table is copied once, by whoever packs it.
"""

import errno
import io
import mmap
import os
import pickle
import secrets
import shutil
import stat
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import finalize, ref

import numpy as np
import pyarrow as pa

from backfill.errors import BackfillError

_ALIGNED_BYTES = 64
"""Arrow's kernels want their buffers so: https://arrow.apache.org/docs/format/Columnar.html"""

_SLACK_BYTES = 4096
IN_MEMORY = hasattr(os, "memfd_create")
"""Whether the system has files that are in memory alone (Linux)."""
_PROCESSES = "/proc/"
_OF_ANOTHER_PROCESS = (errno.ENXIO, errno.ESRCH, errno.EACCES, errno.EPERM)
Buffer = bytes | bytearray | memoryview
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class _Packer(pickle.Pickler):
    """Packs what pickle alone cannot, or packs at too great a length.

    Args:
        file: Takes the pickle.
        buffers: Takes the buffers.
        known: Names of objects that the receiver has, by their `id`.
    """

    def __init__(
        self, file: io.BytesIO, buffers: list[pickle.PickleBuffer], known: Mapping[int, str]
    ) -> None:
        super().__init__(file, 5, buffer_callback=buffers.append)
        self._known = known

    def persistent_id(self, obj: Any) -> str | None:
        """What the receiver has already is named, not sent."""
        return self._known.get(id(obj))

    def reducer_override(self, obj: Any) -> Any:
        """A slice of an Arrow array goes without what lies around it, a view as what it shows."""
        if isinstance(obj, MappingProxyType):
            return MappingProxyType, (dict(obj),)
        if isinstance(obj, pa.Array) and (
            obj.get_total_buffer_size() > 2 * obj.nbytes + _SLACK_BYTES
        ):
            return _array, (pickle.PickleBuffer(_as_stream(obj)),)
        return NotImplemented


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Sequence[Any], known: Mapping[str, Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._known = known

    def persistent_load(self, pid: str) -> Any:
        """The receiver's own object."""
        return self._known[pid]


def _as_stream(array: pa.Array) -> pa.Buffer:
    batch = pa.record_batch([array], names=["array"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()


def _array(buffer: Buffer) -> pa.Array:
    with pa.ipc.open_stream(pa.py_buffer(buffer)) as stream:
        return stream.read_next_batch().column(0)


def frames(value: Any, known: Mapping[str, Any] = _NOTHING) -> list[Buffer]:
    """A value as bytes, in pieces: the sizes of its parts, its pickle, the buffers beside it.

    Args:
        value: The value.
        known: Objects that the receiver has, by the names that it knows them by.
    """
    file, beside = io.BytesIO(), list[pickle.PickleBuffer]()
    names = {id(each): name for name, each in known.items()}
    _Packer(file, beside, names).dump(value)
    parts = [memoryview(file.getbuffer()), *(each.raw() for each in beside)]
    sizes = [each.nbytes for each in parts]
    found: list[Buffer] = [struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes)]
    at = len(found[0])
    for each in parts:
        found += [bytes(-at % _ALIGNED_BYTES), each]
        at += -at % _ALIGNED_BYTES + each.nbytes
    return found


def value_of(data: Buffer, known: Mapping[str, Any] = _NOTHING) -> Any:
    """The opposite of `frames`, put together; nothing large is copied.

    Args:
        data: The bytes.
        known: The receiver's objects, by the names that the sender gave them.
    """
    view = memoryview(data)
    (count,) = struct.unpack_from("<Q", view)
    at, parts = 8 * (1 + count), []
    for size in struct.unpack_from(f"<{count}Q", view, 8):
        at += -at % _ALIGNED_BYTES
        parts.append(view[at : at + size])
        at += size
    return _Unpacker(io.BytesIO(parts[0]), parts[1:], known).load()


class Label(NamedTuple):
    """What a parcel is found by.

    Args:
        path: What its readers open.
        token: What only this parcel begins with: the numbers of open files are used again.
    """

    path: str
    token: str


class Shelf(ABC):
    """Where parcels lie while other processes read them.

    Args:
        name: What another process finds it by; None: none can, only what lies on it.
    """

    def __init__(self, name: str | None) -> None:
        self.name = name

    def put(self, value: Any, known: Mapping[str, Any] = _NOTHING) -> "Parcel":
        """Lay a value down, for somebody who has what is `known` of it.

        Raises:
            OSError: The disk is full.
            BackfillError: A bucket does not take it.
        """
        parcel = self._new(secrets.token_hex(16))
        try:
            parcel.write(parcel.label.token.encode().ljust(_ALIGNED_BYTES))
            for each in frames(value, known):
                parcel.write(each)
            parcel.is_whole()
        except (OSError, BackfillError):
            parcel.remove()
            raise
        return parcel

    @abstractmethod
    def _new(self, token: str) -> "Parcel":
        """An empty parcel."""

    @abstractmethod
    def clear(self) -> None:
        """Remove it with all that lies on it, also what nobody has taken."""


class MemoryShelf(Shelf):
    """The memory of this machine, of which nothing is left whenever the process ends."""

    def __init__(self) -> None:
        super().__init__(None)

    def _new(self, token: str) -> "Parcel":
        descriptor = os.memfd_create("backfill")
        return Parcel(descriptor, Label(f"{_PROCESSES}{os.getpid()}/fd/{descriptor}", token))

    def clear(self) -> None:
        """What lies on it goes with whoever has it open."""


class FolderShelf(Shelf):
    """A folder that all of them see."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder.absolute()))
        self._folder = folder.absolute()

    @classmethod
    def made_in(cls, folder: Path) -> "FolderShelf":
        """A shelf of its own in a folder.

        Raises:
            OSError: It cannot be made.
        """
        own = folder / f"backfill-{secrets.token_hex(8)}"
        own.mkdir(mode=0o700, parents=True)
        return cls(own)

    def _new(self, token: str) -> "Parcel":
        path = str(self._folder / token)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return Parcel(descriptor, Label(path, token))

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Parcel:
    """A value that lies on a shelf, until it is removed.

    Args:
        descriptor: The open file.
        label: What other processes find it by.
    """

    def __init__(self, descriptor: int, label: Label) -> None:
        self.label = label
        self._descriptor = descriptor

    def write(self, data: Buffer) -> None:
        """Add to it."""
        left = memoryview(data)
        while left.nbytes:
            left = left[os.write(self._descriptor, left) :]

    def is_whole(self) -> None:
        """Nothing will be added."""

    def close(self) -> None:
        """Somebody else removes it."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Take it away; whoever reads it reads on."""
        self.close()
        removed(self.label)


def shelf_at(name: str) -> Shelf:
    """The shelf of a name, for those who did not make it."""
    if not _is_object(name):
        return FolderShelf(Path(name))
    from backfill.cluster.bucket_shelf import BucketShelf  # noqa: PLC0415 - few have one

    return BucketShelf(name)


def removed(label: Label) -> None:
    """Take away what lies there; what is in memory goes by itself."""
    if _is_object(label.path):
        from backfill.cluster.bucket_shelf import remove  # noqa: PLC0415

        remove(label.path)
    elif not label.path.startswith(_PROCESSES):
        with suppress(OSError):
            Path(label.path).unlink()


def _is_object(name: str) -> bool:
    return "://" in name


class _Mapped(mmap.mmap):
    """A parcel in the memory of a reader; others can be told when it has gone."""


def mapped(label: Label) -> memoryview:
    """What a parcel holds, its token first; nothing is read before it is looked at.

    Raises:
        FileNotFoundError: It is not there any more.
        OSError: It cannot be read from here.
    """
    descriptor = _descriptor_of(label)
    try:
        return _mapped(descriptor, label)
    finally:
        os.close(descriptor)


def _descriptor_of(label: Label) -> int:
    """Open what a label names.

    Its process may have ended, and another one have got the number, with anything in place of the
    parcel: to open a pipe would wait for its writer, and a socket cannot be opened at all.
    """
    if _is_object(label.path):
        from backfill.cluster.bucket_shelf import fetched  # noqa: PLC0415

        return fetched(label.path)
    try:
        return os.open(label.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in _OF_ANOTHER_PROCESS and label.path.startswith(_PROCESSES):
            raise _gone(label) from error
        raise


def _gone(label: Label) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), label.path)


def _mapped(descriptor: int, label: Label) -> memoryview:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or not found.st_size:
        raise _gone(label)
    data = memoryview(_Mapped(descriptor, 0, access=mmap.ACCESS_READ))
    if bytes(data[: len(label.token)]) != label.token.encode():
        raise _gone(label)
    return data


def opened(label: Label, known: Mapping[str, Any] = _NOTHING) -> Any:
    """The value of a parcel; it stays in the mapped file.

    Raises:
        OSError: As `mapped` says.
    """
    return value_of(mapped(label)[_ALIGNED_BYTES:], known)


class Taken:
    """The parcels of workers that the driver has taken, as long as any of their bytes is in use.

    They are found again by where they lie in its memory: so whatever is made of their bytes can be
    had by other processes, too, without being sent to them.

    Args:
        in_memory: They are files in the memory of this machine, which their makers may let go of.
    """

    def __init__(self, *, in_memory: bool) -> None:
        self._in_memory = in_memory
        self._found: dict[int, _Taken] = {}
        self._numbers = count()

    def open(self, label: Label, known: Mapping[str, Any] = _NOTHING) -> Any:
        """The value of a parcel; what it lies in is let go of, or removed, with the value.

        Raises:
            OSError: As `mapped` says.
        """
        descriptor = _descriptor_of(label)
        try:
            data = _mapped(descriptor, label)
        except OSError:
            os.close(descriptor)
            raise
        if self._in_memory:
            label = Label(f"{_PROCESSES}{os.getpid()}/fd/{descriptor}", label.token)
        number = next(self._numbers)
        self._found[number] = _Taken(ref(data.obj), _address(data), len(data), label)
        finalize(data.obj, self._let_go, number, descriptor)
        return value_of(data[_ALIGNED_BYTES:], known)

    def _let_go(self, number: int, descriptor: int) -> None:
        label = self._found.pop(number).label
        os.close(descriptor)
        removed(label)

    def place(self, data: Buffer) -> tuple[Label, int] | None:
        """The parcel that some bytes lie in, and where in it they begin; None: in none."""
        address = _address(data)
        for each in tuple(self._found.values()):  # a few: those under way
            at = address - each.address
            # One that has just gone has left its place to whatever came next.
            if 0 <= at < each.size and each.mapping() is not None:
                return each.label, at
        return None


class _Taken(NamedTuple):
    """Where a parcel lies, as long as its mapping is there."""

    mapping: "ref[Any]"
    address: int
    size: int
    label: Label


def _address(data: Buffer) -> int:
    """Where some bytes, at least one, lie in this process's memory."""
    return int(np.frombuffer(data, np.uint8).__array_interface__["data"][0])
