"""What a pipeline file would say about files that were looked at."""

from collections.abc import Sequence

from backfill.pipeline.source_settings import KINDS
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.kinds import Kind, common_type, identifiers_of, kind_of, person_of
from backfill.scaffold.pipeline_text import Proposal
from backfill.scaffold.questions import Ask, Question
from backfill.scaffold.source_tables import Writer

_ORDER = tuple(KINDS)
LEAVE_OUT = "none"
"""The answer that leaves a file out."""


def propose(looks: Sequence[FileProfile], timezone: str | None, ask: Ask) -> list[Proposal]:
    """What to do with each of the files, customers first.

    Args:
        looks: What was seen.
        timezone: The zone of clocks that carry none.
        ask: Asks a person for what nothing proves.
    """
    asked = [(look, _kind(look, ask)) for look in looks]
    kinds = [(look, kind) for look, kind in asked if kind.kind != LEAVE_OUT]
    found = [
        {} if _says_nothing(*each) else identifiers_of(each[0], each[1].kind) for each in kinds
    ]
    common = common_type([each for each in found if each])
    has_customers = any(kind.kind == "customers" for _, kind in kinds)
    proposals = []
    for (look, kind), types in zip(kinds, found, strict=True):
        type_ = common if common in types else next(iter(types), None)
        writer = Writer(look, kind, timezone, ask, has_customers=has_customers)
        proposals.append(writer.proposal(type_, types.get(type_) if type_ else None))
    return sorted(proposals, key=lambda each: _ORDER.index(each.kind))


def _says_nothing(look: FileProfile, kind: Kind) -> bool:
    """Whether an `id` is all there is: it may be that of a payment, of a product, of a company."""
    return kind.kind in ("objects", "merges") or (bool(kind.others) and person_of(look) is None)


def _kind(look: FileProfile, ask: Ask) -> Kind:
    kind = kind_of(look)
    if not kind.others:
        return kind
    question = Question(
        f"{look.files[0]}: {', '.join(_ORDER)}? ({kind.why}); none leaves it out",
        kind.kind,
        (*_ORDER, LEAVE_OUT),
    )
    answer = ask(question)
    return kind if answer is None else Kind(str(answer), "your answer")
