"""What was found is counted, listed safely, and said of all in words."""

import csv
from math import comb

import pytest

from backfill.verification.findings import (
    Findings,
    Scope,
    Subject,
    differing_at_most,
)
from backfill.verification.values import Difference


@pytest.mark.parametrize(
    ("population", "sample", "found"),
    [(12, 4, 0), (100, 30, 0), (100, 30, 2), (1_000, 50, 1), (40, 40, 3), (5, 1, 1)],
)
def test_a_bound_is_the_greatest_number_that_is_not_unlikely(population, sample, found):
    """Held against the exact numbers of choices."""

    def chance(differing):
        ways = sum(
            comb(differing, each) * comb(population - differing, sample - each)
            for each in range(found + 1)
        )
        return ways / comb(population, sample)

    most = differing_at_most(population, sample, found)

    assert chance(most) >= 0.05
    assert most == population - (sample - found) or chance(most + 1) < 0.05


def test_a_list_is_for_spreadsheets_and_for_its_owner(tmp_path):
    """No cell is a formula; the file goes when there is nothing to list."""
    with Findings(tmp_path, {1: "people.csv"}) as findings:
        findings.equal("people")
        findings.differs(Subject("people", "=1+1", 1, 7), [Difference("plan", "a", "@b")])
        findings.missing(Subject("events", "a", 1, 8), "seen (id)")
        path = findings.save()
        result = findings.result(Scope(sampled=True, people=2, of_people=9), "2026-01-01T00:00:00Z")

    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open(encoding="utf-8-sig", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["_identifier"], first["_there"], first["_source"]) == (
        "'=1+1",
        "'@b",
        "people.csv",
    )
    assert second["_why"] == "seen (id)"
    assert result.figures() == {
        "checked": 3,
        "equal": 1,
        "missing": 1,
        "differs": 1,
        "unprovable": 0,
    }
    assert result.by_field == {"plan": 1}
    assert "2 of 9 people" in " ".join(result.notes())
    with Findings(tmp_path, {}) as findings:
        assert findings.save() is None
    assert not path.exists()
