"""What a verification found is read back from a journal as it was noted."""

import json

from backfill.report.verified import LAST_VERIFIED, KindVerified, Verification


def test_it_comes_back_in_the_order_of_sending():
    """A journal keeps no order; its totals stand beside it, for the status."""
    kinds = {"people": KindVerified(equal=2, differs=1), "events": KindVerified(missing=3)}
    found, meta = Verification(at="2026-11-27T10:00:00Z", kinds=kinds), {}
    found.keep(meta)

    kept = json.loads(json.dumps(meta, sort_keys=True))

    assert Verification.of(kept) == found
    assert list(Verification.of(kept).kinds) == ["people", "events"]
    assert kept[LAST_VERIFIED]["checked"] == 6
    assert Verification.of({}) is None
