"""What a pipeline file would say about files that were looked at."""

from collections.abc import Sequence

from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.kinds import Kind, common_type, identifiers_of, kind_of
from backfill.scaffold.pipeline_text import Proposal
from backfill.scaffold.questions import Ask, Question
from backfill.scaffold.source_tables import MODELS, Writer

_ORDER = tuple(MODELS)


def propose(looks: Sequence[FileProfile], timezone: str | None, ask: Ask) -> list[Proposal]:
    """What to do with each of the files, customers first.

    Args:
        looks: What was seen.
        timezone: The zone of clocks that carry none.
        ask: Asks a person for what nothing proves.
    """
    kinds = [_kind(look, ask) for look in looks]
    found = [identifiers_of(look, kind.kind) for look, kind in zip(looks, kinds, strict=True)]
    common = common_type(found)
    has_customers = any(kind.kind == "customers" for kind in kinds)
    proposals = []
    for look, kind, types in zip(looks, kinds, found, strict=True):
        type_ = common or next(iter(types), None)
        writer = Writer(look, kind, timezone, ask, has_customers=has_customers)
        proposals.append(writer.proposal(type_, types.get(type_) if type_ else None))
    return sorted(proposals, key=lambda each: _ORDER.index(each.kind))


def _kind(look: FileProfile, ask: Ask) -> Kind:
    kind = kind_of(look)
    if kind.is_sure:
        return kind
    question = Question(
        f"{look.files[0]}: customers, events or deletions? ({kind.why})", kind.kind, _ORDER
    )
    answer = ask(question)
    return kind if answer in (None, kind.kind) else Kind(str(answer), "your answer")
