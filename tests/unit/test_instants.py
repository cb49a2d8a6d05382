"""Written moments become instants, or are refused with the right reason."""

import pyarrow as pa

from backfill.instants import Reading, read


def test_iso_text_with_a_zone_needs_no_timezone():
    """Text that carries its offset is an instant by itself."""
    instants = read(pa.array(["2024-01-02T03:04:05+01:00", None]), Reading("iso8601"))

    assert instants.micros.to_pylist() == [1704161045_000000, None]
    assert instants.failures.to_pylist() == [None, None]
