"""Names of objects: URLs as the pipeline file has them, and the globs that stand for several."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from backfill.errors import UsageError
from backfill.pipeline.destination_settings import is_loopback_host

SCHEMES = ("s3", "gs", "az", "https", "http")

TABLES = {
    "_delta_log": "a Delta table",
    "metadata/*.metadata.json": "an Iceberg table",
    ".hoodie": "a Hudi table",
}
"""What a folder holds whose files are not all of its rows, and not only its rows."""


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """Where an object is, as the pipeline file says it; like a `Path`, as far as readers ask.

    Args:
        scheme: One of `SCHEMES`.
        bucket: The bucket or container; of https the host.
        key: What it is called in there; of https the path, percent-encoded.
    """

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "ObjectUrl":
        """The parts of a URL.

        Raises:
            UsageError: It cannot be used; the message does not quote what may be a secret.
        """
        scheme, _, rest = text.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme in ("http", "https"):
            key, query, _ = key.partition("?")
            _check_web(scheme, bucket, has_query=bool(query))
        if not bucket:
            raise UsageError(
                f"{scheme}://: names no {'host' if scheme.startswith('http') else 'bucket'}",
                next_step='write it as "s3://BUCKET/FOLDER/*.parquet", "https://HOST/FILE.csv"',
            )
        return cls(scheme, bucket, key)

    def __str__(self) -> str:
        """The URL."""
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def path(self) -> str:
        """What the store calls it."""
        return unquote(self.key) if self.scheme in ("http", "https") else self.key

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.path.rpartition("/")[2]

    @property
    def suffixes(self) -> list[str]:
        """What follows the dots of its name."""
        return [f".{each}" for each in self.name.lstrip(".").split(".")[1:]]

    @property
    def suffix(self) -> str:
        """What follows the last dot of its name."""
        return "".join(self.suffixes[-1:])

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that it lies in, below the bucket."""
        return tuple(self.path.split("/")[:-1])

    def is_dir(self) -> bool:
        """Whether it names what begins with it."""
        return not self.name

    def beside(self, path: str) -> "ObjectUrl":
        """Another object of the same bucket."""
        return ObjectUrl(self.scheme, self.bucket, path)


def is_url(name: str) -> bool:
    """Whether a name of the pipeline file is a URL of an object."""
    return name.partition("://")[0] in SCHEMES and "://" in name


def no_such_bucket(name: str) -> UsageError:
    """What is told of a store that has no such bucket."""
    return UsageError(
        f"{name}: there is no such bucket",
        next_step="create it, or correct its name (`files`, `state` or --state-dir) and [storage]",
    )


def _check_web(scheme: str, host: str, *, has_query: bool) -> None:
    if "@" in host:
        raise UsageError(
            f"{scheme}://: the URL carries a user name or password",
            next_step="leave it out: a pipeline file is no place for secrets",
        )
    if has_query:
        raise UsageError(
            f"{scheme}://{host}: the URL has a query, which may be a signature, and these are"
            " secrets and run out",
            next_step="name the object as s3://, gs:// or az://, with credentials in the"
            " environment; or download the file",
        )
    if scheme == "http" and not is_loopback_host(urlsplit(f"//{host}").hostname or ""):
        raise UsageError(
            f"http://{host}: is not https, which only this machine may omit",
            next_step="use https",
        )


def without_folders(found: list[tuple[str, int]], prefix: str) -> list[tuple[str, int]]:
    """What a list of objects has, with their sizes, but for the folders among them.

    Consoles mark a folder by an empty object of its name, whose last slash lists leave out. One
    with nothing in it cannot be told from an empty object here.

    >>> without_folders([("in", 0), ("in/a", 0), ("in/a/b/c.csv", 9), ("in/d", 0)], "in")
    [('in/a/b/c.csv', 9), ('in/d', 0)]
    """
    if all(size for _, size in found):
        return found
    folders = {str(each) for path, _ in found for each in PurePosixPath(path).parents}
    folders.add(prefix.rstrip("/"))
    return [(path, size) for path, size in found if size or path not in folders]


def folder_of_pattern(pattern: str) -> str:
    """The folder of a pattern that every name begins with which fits it."""
    return re.split(r"[*?\[]", pattern, maxsplit=1)[0].rpartition("/")[0]


def matcher(pattern: str) -> Callable[[ObjectUrl], bool]:
    """Whether an object fits a glob, as names of files do.

    >>> fits = matcher("a/**/b*.csv")
    >>> [fits(ObjectUrl("s3", "b", each)) for each in ("a/b1.csv", "a/x/y/b.csv", "a/.x/b.csv")]
    [True, True, False]
    """
    last = "/*" if pattern.endswith("**") else ""  # files of all folders
    parts = [_part(each) for each in f"{pattern}{last}".split("/")]
    whole = re.compile("".join(parts).removesuffix("/"), re.DOTALL)
    return lambda url: whole.fullmatch(url.key) is not None


def _part(part: str) -> str:
    """One name of a glob as a regular expression, and the slash behind it."""
    hidden = r"(?!\.)"
    if part == "**":
        return rf"(?:{hidden}[^/]+/)*"
    pieces = re.findall(r"\[!?\]?[^\]]*\]|.", part, re.DOTALL)
    text = "".join(_piece(each) for each in pieces)
    return f"{hidden if part[:1] in '*?[' else ''}{text}/"


def _piece(piece: str) -> str:
    if piece == "*":
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if len(piece) > 1:
        chars = re.escape(piece[1:-1].removeprefix("!")).replace(r"\-", "-")
        return f"[{'^' if piece[1] == '!' else ''}{chars}]"
    return re.escape(piece)


def tables_of(keys: Iterable[str]) -> dict[str, str]:
    """The folders that are tables with a log of their own, each with its kind.

    >>> tables_of(["t/_delta_log/0.json", "i/metadata/v1.metadata.json", "x/a.parquet"])
    {'t': 'a Delta table', 'i': 'an Iceberg table'}
    """
    found = {}
    for key in keys:
        folders = key.split("/")[:-1]
        for mark in ("_delta_log", ".hoodie"):
            if mark in folders:
                found["/".join(folders[: folders.index(mark)])] = TABLES[mark]
        if folders[-1:] == ["metadata"] and key.endswith(".metadata.json"):
            found["/".join(folders[:-1])] = TABLES["metadata/*.metadata.json"]
    return found


def table_refused(folder: object, what: str) -> UsageError:
    """The refusal of files that are some of a table's."""
    return UsageError(
        f"{folder}: is {what}: its files hold rows that it has deleted or replaced",
        next_step="export the table to Parquet or CSV, and name that",
    )
