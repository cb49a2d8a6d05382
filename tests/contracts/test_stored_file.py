"""What `StoredFile` promises, held by a folder and by every store: the same bytes, of one version.

And what follows from it: files of every format give the same rows, wherever they lie.
"""

import io
import itertools
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backfill.errors import CredentialsError, SourceChangedError, UsageError
from backfill.pipeline.file_settings import StorageSettings
from backfill.rows import START
from backfill.sources import FileFormat, expand, open_source, partitions_of
from backfill.sources.objects import Objects
from backfill.sources.read_ahead import ReadingPlan
from backfill.sources.urls import ObjectUrl, is_url
from tests.contracts.test_source_file import CASES, rows_of
from tests.support import stores

CONTENT = bytes(itertools.islice(itertools.cycle(range(251)), 700_000))
SMALL = ReadingPlan(first_bytes=10_000, range_bytes=50_000, ahead=2)
_names = itertools.count()


@pytest.fixture(scope="module", params=["folder", "s3", "gs", "az", "https"])
def anywhere(request, tmp_path_factory):
    """A folder, and each store."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stores.ENVIRONMENT.items():
            patch.setenv(name, value)
        if request.param == "folder":
            yield stores.in_folder(tmp_path_factory.mktemp("files"))
            return
        if request.param == "az" and stores.azurite() is None:
            pytest.skip("azurite is not installed: npm install --prefix .venv azurite")
        arguments = [tmp_path_factory.mktemp("web")] if request.param == "https" else []
        with getattr(stores, request.param)(*arguments) as place:
            yield place


@pytest.fixture
def place(anywhere):
    """A place where nothing is yet."""
    return anywhere.below(f"test-{next(_names)}/")


@pytest.fixture
def objects(place):
    """What reads from the place."""
    return Objects(StorageSettings(**tomllib.loads(place.settings)))


def located(place, name: str) -> Path | ObjectUrl:
    """Where a file of the place is."""
    url = place.url(name)
    return ObjectUrl.parse(url) if is_url(url) else Path(url)


@pytest.fixture
def stored(place, objects):
    """A file, opened."""
    place.put("in.bin", CONTENT)
    return objects.stored(located(place, "in.bin"))


def test_every_byte_is_where_it_was_put(stored):
    """From the start, after jumps forward and back, and up to the end."""
    assert stored.size == len(CONTENT)
    with stored.open(SMALL) as file:
        assert file.read() == CONTENT
    with stored.open(SMALL) as file:
        for at in (699_990, 0, 5_000, 9_999, 10_000, 123_456, 9_000, 350_000, 400_001):
            file.seek(at)
            assert file.read(20_001) == CONTENT[at : at + 20_001]


def test_its_fingerprint_stays_as_long_as_its_content(place, objects, stored):
    """Whoever opens it; and it is another one after any change."""
    found = stored.fingerprint()
    again = objects.stored(located(place, "in.bin")).fingerprint()
    place.put("in.bin", CONTENT[::-1])
    changed = objects.stored(located(place, "in.bin")).fingerprint()

    assert found == again
    assert changed.size == found.size == len(CONTENT)
    assert changed.digest != found.digest


def test_what_was_replaced_gives_no_byte_of_the_new_version(place, stored):
    """Also where the store gives what it has, whatever it was asked for."""
    given = io.BytesIO()
    with stored.open(SMALL) as file:
        given.write(file.read(5_000))
        place.put("in.bin", b"\xff" * len(CONTENT))
        pieces = stored.guarded(iter(lambda: file.read(5_000), b""))
        with pytest.raises(SourceChangedError):
            list(map(given.write, pieces))

    # A file of this machine is read by its handle: of the version that was opened.
    assert CONTENT.startswith(given.getvalue())


@pytest.mark.parametrize("change", ["replace", "remove"])
def test_a_change_behind_what_was_read_is_seen_at_the_end(place, stored, change):
    """All was read before it changed: the run must not call it finished."""
    read = stored.guarded([CONTENT])
    next(read)
    if change == "remove":
        place.remove("in.bin")
    else:
        place.put("in.bin", CONTENT[1:])

    with pytest.raises(SourceChangedError, match=r"in\.bin"):
        list(read)


def test_what_is_not_there_is_refused_by_name(place, objects):
    """A wrong name is a mistake of the pipeline file."""
    with pytest.raises(UsageError, match=r"absent\.csv"):
        objects.stored(located(place, "absent.csv"))


def test_patterns_stand_for_the_same_files_as_in_a_folder(place, objects, tmp_path):
    """In natural order, folders of any depth, hidden files left out."""
    if not place.can_list:
        with pytest.raises(UsageError, match="has no list of its files"):
            expand([place.url("*.csv")], tmp_path, objects)
        return
    local = stores.in_folder(tmp_path)
    for name in (
        "a_10.csv",
        "a_2.csv",
        "b.parquet",
        ".c.csv",
        "d/a_3.csv",
        "d/e/a 1.csv",
        "f+[1].csv",
    ):
        place.put(name, b"x")
        local.put(name, b"x")

    for pattern in ("*.csv", "**/*.csv", "a_?.csv", "**", "d/*/*", "[!a]*", "f+[1].csv", "{a,b}*"):
        try:
            expected = [place.url(each) for each in names_of(local, tmp_path, pattern, Objects())]
        except UsageError:
            expected = []
        try:
            found = names_of(place, tmp_path, pattern, objects)
        except UsageError:
            found = []
        assert [place.url(each) for each in found] == expected, pattern


def names_of(place, folder, pattern, objects) -> list[str]:
    """The names that a pattern gives, without what stands before all."""
    found = expand([place.url(pattern)], folder, objects)
    return [str(each).removeprefix(place.base) for each in found]


def test_the_files_of_a_table_are_refused(place, objects, tmp_path):
    """Deleted rows are in them; also where the log lies beside the folder that is named."""
    if not place.can_list:
        pytest.skip("a web server has no list of its files")
    place.put("delta/day=1/a.parquet", b"x")
    place.put("delta/_delta_log/00.json", b"x")
    place.put("ice/data/a.parquet", b"x")
    place.put("ice/metadata/v1.metadata.json", b"x")

    with pytest.raises(UsageError, match="delta: is a Delta table"):
        expand([place.url("delta/**/*.parquet")], tmp_path, objects)
    with pytest.raises(UsageError, match="ice: is an Iceberg table"):
        expand([place.url("ice/data/*.parquet")], tmp_path, objects)


@pytest.mark.parametrize("case", CASES)
def test_a_file_gives_the_same_rows_wherever_it_lies(place, objects, tmp_path, case):
    """Every format, plain and compressed, from the start and from the end of any chunk."""
    name, write, options = CASES[case]
    write(tmp_path / name)
    place.put(f"day=1/{name}", (tmp_path / name).read_bytes())
    how = FileFormat(**options)

    def opened(path, of):
        partitions = partitions_of(path, tmp_path) or {"day": "1"}
        return open_source(of.stored(path), how, partitions=partitions, block_bytes=500)

    local = opened(tmp_path / name, Objects())
    remote = opened(located(place, f"day=1/{name}"), objects)
    expected = rows_of(local.chunks())

    assert rows_of(remote.chunks()) == expected
    starts = [START, *(chunk.end for chunk in remote.chunks())]
    for start in (starts[1], starts[len(starts) // 2], starts[-1]):
        rest = [each for each in expected if each[0] >= start.row]
        assert rows_of(remote.chunks(start)) == rest


def test_large_parquet_is_read_in_several_places_at_once(place, objects):
    """More columns than ranges are held, in row groups larger than all of them."""
    table = pa.table({f"c{n}": pa.array(range(n, n + 30_000)) for n in range(30)})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=20_000, use_dictionary=False, compression="none")
    place.put("wide.parquet", sink.getvalue())

    source = open_source(objects.stored(located(place, "wide.parquet")))
    read = pa.Table.from_batches([chunk.batch for chunk in source.chunks()])

    assert read.equals(table)


def test_nothing_secret_is_in_a_refusal(objects, place, monkeypatch):
    """Not in the message, and not in what a traceback would show."""
    if place.name in ("folder", "https"):
        pytest.skip("there are no credentials")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", stores.SECRET)
    with pytest.raises((UsageError, CredentialsError)) as caught:
        objects.stored(located(place, "absent.csv"))

    error = caught.value
    assert error.__suppress_context__ or error.__context__ is None
    assert stores.SECRET not in f"{error}{error.next_step}"
