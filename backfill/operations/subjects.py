"""What a row is about where that is more than a person: objects, relationships, merges.

Everything that is compared across rows, repeats and what a sync remembers, goes by a row's subject:
a type, and a text that tells subjects of the type apart. A person's are its identifier's.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from backfill.encoding import identity
from backfill.encoding.cell_json import RowFaults
from backfill.encoding.json_text import Mask, Parts, as_mask, escaped
from backfill.operations.encode import Accepted
from backfill.pipeline.source_settings import (
    MergesSource,
    ObjectsSource,
    RelationshipsSource,
    Source,
)

Subject: TypeAlias = tuple[str, str]
"""The type of what a row is about, and the text that tells it from others of the type."""

Merge: TypeAlias = tuple[Subject, Subject]
"""A person who goes, and the one who stays."""

Subjects: TypeAlias = tuple[str, pa.StringArray]
"""A type of subjects, and n of them."""

_OBJECT, _RELATIONSHIP = "object {}", "{} in object {}"
_KIND_OF_TYPE = {
    "objects": re.compile(r"object \d+"),
    "relationships": re.compile(r"(\w+) in object (\d+)"),
}


def subject_type(source: Source) -> str:
    """The type of what a source's rows are about: `id`, `object 1`, `id in object 1`."""
    if isinstance(source, ObjectsSource):
        return object_type(source)
    if isinstance(source, RelationshipsSource):
        return _RELATIONSHIP.format(source.identifier.type, source.object.object_type)
    return source.identifier.type


def object_type(source: ObjectsSource | RelationshipsSource) -> str:
    """The type of the objects that a source's rows name, as subjects: `object 1`."""
    named = source if isinstance(source, ObjectsSource) else source.object
    return _OBJECT.format(named.object_type)


def kind_of_type(type_: str) -> str:
    """Which kind of source knows subjects of a type: customers, objects or relationships.

    >>> kind_of_type("id in object 1")
    'relationships'
    """
    found = (kind for kind, pattern in _KIND_OF_TYPE.items() if pattern.fullmatch(type_))
    return next(found, "customers")


def subjects(source: Source, accepted: Accepted) -> Subjects:
    """What each of n accepted rows is about."""
    return subject_type(source), keys(source, accepted.person, accepted.target)


def keys(source: Source, person: pa.StringArray, target: pa.StringArray | None) -> pa.StringArray:
    """What tells n rows' subjects apart: the same for the same subject, however it is written.

    Args:
        source: What the rows are.
        person: string, length n: whom each is about, or which object.
        target: string, length n: what else each names.
    """
    key = identity.person_key(source.identifier.type, person)
    if not isinstance(source, RelationshipsSource) or target is None:
        return key
    # As JSON, so that no two pairs can be written alike.
    return pc.binary_join_element_wise('["', escaped(key), '","', escaped(target), '"]', "")


def judged(
    source: Source, person: pa.StringArray, target: pa.StringArray, faults: RowFaults
) -> pa.StringArray:
    """What those of n rows are about that say it, whatever is wrong with them besides.

    Args:
        source: What the rows are: relationships or merges.
        person: string, length n, empty where nothing says so.
        target: The same of what else each names.
        faults: Takes what is wrong with the two together.
    """
    named = pc.not_equal(person, "")
    if isinstance(source, RelationshipsSource):
        named = pc.and_(named, pc.not_equal(target, ""))
    elif isinstance(source, MergesSource):
        itself = _into_themselves(source, target, person)
        for each in (source.primary, source.secondary):  # either may be the wrong one
            faults.add("merged_into_itself", each.column, itself)
    return keys(source, person, target).filter(named)


def merged(source: Source, accepted: Accepted) -> Iterator[Merge]:
    """Whom each of n accepted rows merges away, and into whom; none where it merges nobody."""
    if isinstance(source, MergesSource):
        stays = identity.person_key(source.primary.type, required(accepted.target))
        type_, goes = subjects(source, accepted)
        for gone, stay in zip(goes.to_pylist(), stays.to_pylist(), strict=True):
            yield (type_, gone), (source.primary.type, stay)


def chained(some: Collection[Merge], others: Iterable[Merge]) -> int:
    """How many merges there are whose order would count, among some and between those and others.

    >>> a, b, c = (("id", each) for each in "abc")
    >>> chained([(a, b)], [(b, c)]), chained([(a, b)], [(c, b)]), chained([(a, b), (a, c)], [])
    (1, 0, 1)
    """
    goes, stays = ({each[place] for each in some} for place in (0, 1))
    twice = len(set(some)) - len(goes)
    return twice + sum(gone in stays or stay in goes for gone, stay in chain(some, others))


def vanishing(sources: Sequence[Source]) -> dict[str, int]:
    """The types of what a sync deletes once no row names it, each with the first source of it."""
    found: dict[str, int] = {}
    for index, source in enumerate(sources):
        if source.is_profile and source.sync.vanished == "delete":
            found.setdefault(subject_type(source), index)
    return found


def removal_settings(type_: str) -> dict[str, Any]:
    """The settings of a source that removes subjects of a type; see `removal_columns`."""
    if (pair := _KIND_OF_TYPE["relationships"].fullmatch(type_)) is None:
        return {"kind": "deletions", "identifier": {type_: "identifier"}}
    return {
        "kind": "relationships",
        "action": "remove",
        "identifier": {pair[1]: "person"},
        "object": {"type": pair[2], "id": "object"},
    }


def removal_columns(type_: str, identifiers: pa.StringArray) -> Mapping[str, pa.StringArray]:
    """What such a source reads besides the n identifiers themselves."""
    if kind_of_type(type_) != "relationships":
        return {}
    pairs = orjson.loads(f"[{','.join(identifiers.to_pylist())}]")
    columns = zip(*pairs, strict=True) if pairs else ((), ())
    return {
        name: pa.array(column, pa.string())
        for name, column in zip(("person", "object"), columns, strict=True)
    }


def _into_themselves(
    source: MergesSource, primary: pa.StringArray, secondary: pa.StringArray
) -> Mask:
    """Which of n merges name one person twice; bool (n,)."""
    if source.primary.type != source.secondary.type:  # nothing tells who they are
        return np.zeros(len(primary), np.bool_)
    first, second = (identity.person_key(source.primary.type, e) for e in (primary, secondary))
    return as_mask(pc.equal(first, second)) & as_mask(pc.not_equal(first, ""))


def v2_parts(source: Source, accepted: Accepted) -> Parts:
    """What each row's operation is put together from (Track OpenAPI, `/api/v2/entity`)."""
    person = escaped(accepted.person)
    if isinstance(source, ObjectsSource):
        named = _named_object(person, source.object_type)
        opening = '{"action":"identify","attributes":{'
        return [opening, *accepted.members.parts, "},", *named, ',"type":"object"},']
    target = escaped(required(accepted.target))
    if isinstance(source, MergesSource):
        primary, secondary = (each.type for each in (source.primary, source.secondary))
        opening = f'{{"action":"merge","primary":{{"{primary}":"'
        between = f'"}},"secondary":{{"{secondary}":"'
        return [opening, target, between, person, '"},"type":"person"},']
    if not isinstance(source, RelationshipsSource):
        raise TypeError(f"rows of {source.kind} are about one person each")
    named = _named_object(target, source.object.object_type)
    action, known = "delete_relationships", list[str | pa.StringArray]()
    if source.action == "add":
        action = "add_relationships"
        known = [',"relationship_attributes":{', *accepted.members.parts, "}"]
    opening = f'{{"action":"{action}","cio_relationships":[{{'
    whose = f'}}],"identifiers":{{"{source.identifier.type}":"'
    return [opening, *named, *known, whose, person, '"},"type":"person"},']


def _named_object(ids: pa.StringArray, object_type: str) -> Parts:
    return ['"identifiers":{"object_id":"', ids, f'","object_type_id":"{object_type}"}}']


def required(target: pa.StringArray | None) -> pa.StringArray:
    """What rows name besides whom they are about, where they must."""
    if target is None:
        raise ValueError("these rows name nothing else")
    return target
