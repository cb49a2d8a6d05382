"""What a verification found, in figures and in words."""

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter

from backfill.report.wording import WIDTH, counted, table, wrapped

VERIFIED_FILE = "verified.csv"
VERIFICATION = "verification"
"""In the journal's meta: what was found when the job was verified last."""

LAST_VERIFIED = "verified"
"""There, too: when that was, and its totals, as the status has them."""

WHY_UNPROVABLE = {
    "older_than_30_days": "the App API shows events of the last 30 days only",
    "only_one_proved": "a segment proves that somebody did it once, and not how often",
    "corrected": "a retry sent these rows as they were corrected, or it is in doubt what was sent",
    "sent_differently": "a sync sent other values than the files hold now",
    "deleted": "the person was deleted or merged afterwards",
    "remade": "events name the person, and made a new profile after the merge, as the plan warns",
    "perhaps_deleted": "no row names the person any more, and a sync deletes such people",
    "removed_by_retry": "a retry deleted or merged so many people whom the files do not name",
    "not_people": "verify does not read objects, and who belongs to them",
    "cursor": "a sync by cursor may have skipped the row, so that it was not sent as it is now",
    "later_writer": "somebody else wrote the field after this job had sent it",
    "not_read_again": "the rows are not in the files as they were sent: a retry corrected them, or"
    " their file has gone",
}
"""Why something cannot be proved, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindVerified:
    """What a verification found of people, of events, of merges or of deletions.

    Args:
        equal: Read back as they were sent.
        missing: Not there.
        differs: There, and not as they were sent; somebody who was deleted or merged and is there.
        unprovable: What cannot be held against what was sent, each with its reason.
    """

    equal: int = 0
    missing: int = 0
    differs: int = 0
    unprovable: int = 0

    @property
    def checked(self) -> int:
        """All of them."""
        return self.equal + self.missing + self.differs + self.unprovable


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was read back from the workspace, and how it stands against what was sent.

    Args:
        at: When it ended, ISO 8601 in UTC.
        sampled: Whether people were drawn; else everything was looked at.
        of_people: How many people were delivered; 0: nobody counted them.
        at_most: Of a sample: how many of all people may be missing or differ, at most, with 95 %
            confidence; None: nothing can be said.
        kinds: What was found of people, merges, events and deletions, where there are any.
        by_field: How often each field differs.
        unprovable_by_reason: What cannot be proved, by reason.
    """

    at: str
    sampled: bool = False
    of_people: int = 0
    at_most: int | None = None
    kinds: Mapping[str, KindVerified] = field(default_factory=dict)
    by_field: Mapping[str, int] = field(default_factory=dict)
    unprovable_by_reason: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, meta: Mapping[str, Any]) -> "Verification | None":
        """What a journal's meta says of the last verification; None: there was none."""
        try:
            found = TypeAdapter(cls).validate_python(meta[VERIFICATION])
            # A journal keeps no order.
            return replace(
                found,
                kinds={name: found.kinds[name] for name in sorted(found.kinds, key=_ORDER.index)},
            )
        except (KeyError, ValueError):  # none, or one of another version
            return None

    def keep(self, meta: MutableMapping[str, Any]) -> None:
        """Note it in a journal's meta."""
        meta[VERIFICATION] = asdict(self)
        meta[LAST_VERIFIED] = {"at": self.at, **self.figures()}

    def renamed(self, column: Callable[[str], str]) -> "Verification":
        """The same with other names of fields."""
        return replace(self, by_field={column(name): n for name, n in self.by_field.items()})

    def total(self, name: str) -> int:
        """A figure of all kinds together."""
        return sum(getattr(each, name) for each in self.kinds.values())

    def text(self, job: str, width: int = WIDTH) -> str:
        """As people read it in a terminal of this width: plain ASCII."""
        names = [*VERIFIED]
        kinds: dict[str, KindVerified | Verification] = dict(self.kinds)
        if len(kinds) > 1:
            kinds["all"] = self
        lines = [
            [kind, *(f"{_figure(each, name):,}" for name in names)] for kind, each in kinds.items()
        ]
        parts = [
            wrapped("", f"{job}: {self.outcome()}", width),
            table([["", *names], *lines], ruled=len(kinds) - len(self.kinds), width=width),
            [line for note in self.notes() for line in wrapped("", note, width)],
        ]
        return "\n\n".join("\n".join(part) for part in parts if part) + "\n"

    def outcome(self) -> str:
        """What was found, in a sentence."""
        wrong = self.total("missing") + self.total("differs")
        equal, unproved = self.total("equal"), self.total("unprovable")
        rest = f"; {unproved:,} cannot be proved" if unproved else ""
        if wrong:
            return f"verified, {wrong:,} of {equal + wrong:,} missing or different{rest}"
        return f"verified, all {equal:,} as they were sent{rest}"

    def notes(self) -> list[str]:
        """What else there is to say: what a sample means, which fields differ, what is unproved."""
        said = []
        people = self.kinds.get("people", KindVerified())
        if self.sampled and self.at_most is not None:
            compared = people.checked - people.unprovable
            said.append(
                f"{compared:,} of {counted(self.of_people, 'person', 'people')} were compared,"
                " drawn by a hash of their identifiers. With 95 % confidence at most"
                f" {self.at_most:,} of all {self.of_people:,} are missing or differ; --all compares"
                " everybody."
            )
        said += [f"{counted(n, 'difference')} in {name}" for name, n in self.by_field.items()][:12]
        said += [
            f"{n:,} cannot be proved: {WHY_UNPROVABLE.get(reason, reason)}"
            for reason, n in self.unprovable_by_reason.items()
        ]
        return said

    def figures(self) -> dict[str, int]:
        """The totals, as the summary has them."""
        return {name: self.total(name) for name in VERIFIED}


_ORDER = ("people", "objects", "relationships", "merges", "events", "deletions")
"""The kinds, as they are sent and shown."""

VERIFIED = ("checked", "equal", "missing", "differs", "unprovable")


def _figure(each: KindVerified | Verification, name: str) -> int:
    return each.total(name) if isinstance(each, Verification) else int(getattr(each, name))
