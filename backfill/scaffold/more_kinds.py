"""Objects, relationships and merges: which file holds them, and what its columns name."""

import re
from collections.abc import Iterator

from backfill.encoding.column_names import plain_name
from backfill.pipeline.mistakes import TODO
from backfill.report.wording import counted
from backfill.scaffold import names
from backfill.scaffold.column_profile import ColumnProfile
from backfill.scaffold.file_profile import FileProfile
from backfill.scaffold.pipeline_text import Setting
from backfill.scaffold.setting_docs import ABOUT

_OBJECT = (
    "compan(?:y|ies)|organi[sz]ations?|orgs?|business(?:es)?|teams?|workspaces?|tenants?|courses?"
    "|schools?|households?|groups?|projects?|firm(?:a|en|s)?|unternehmen|entreprises?|empresas?"
)
_OBJECT_ID = re.compile(rf"(?:{_OBJECT})(?:_?(?:id|uuid|guid|key|ref|nr|no|number|code))?")
_OBJECT_FILE = re.compile(rf"(?:^|_)(?:{_OBJECT}|accounts?|objects?)$")
_RELATED_FILE = re.compile(
    r"(?:^|_)(?:members?|memberships?|relationships?|relations?|enrol?lments?|employees?|seats?"
    r"|affiliations?|mitglieder|teilnehmer)(?:_|$)"
)
_PRIMARY = re.compile(
    r"(?:primary|keep|kept|master|survivor|surviving|winner|target|into|merged?_into|new)(?:_.*)?"
)
_SECONDARY = re.compile(
    r"(?:secondary|drop|dropped|duplicate|dup|dupe|loser|merged?(?:_from)?|source|old)(?:_(?!into).*)?"
)
_RELATIONSHIP_COLUMNS_MAX = 5
_MERGE_COLUMNS_MAX = 4
_TYPE_NOTE = (
    "the number of the object type in Customer.io, such as 1; a type must be"
    " there before its objects come"
)


def kind_beyond_people(
    look: FileProfile, person: ColumnProfile | None
) -> tuple[str, str, dict[str, str]] | None:
    """Which of these kinds a file is: the kind, what says so, and what it may be instead.

    Args:
        look: The file.
        person: The column that says who a row is about.

    Returns:
        None: it is none of them, as far as its names and its structure tell.
    """
    if merge := merged_columns(look):
        why = f"{merge[1].name} is merged into {merge[0].name}"
        return "merges", f"{why}: {counted(look.rows, 'row')}", {}
    thing = object_of(look, person)
    if thing is None:
        return None
    things = thing.distinct.shown("object", "objects")
    listed = f"{things} in {counted(thing.values, 'row')}"
    if person is None:
        if not thing.is_unique:
            return None
        others = {} if _says(_OBJECT_FILE, look) else {"customers": "if each row is a person"}
        return "objects", f"each row has its own {thing.name}, and none names a person", others
    if not _is_relation(look):
        return None
    others = {"customers": f"if {thing.name} is only an attribute of each person"}
    if _says(_RELATED_FILE, look) or not person.is_unique:
        others = {}  # whoever stands in several rows has several objects
    return "relationships", f"{person.name} and {thing.name} stand together: {listed}", others


def _is_relation(look: FileProfile) -> bool:
    """Whether rows have little besides a person and an object, and nothing that people have."""
    if _says(_RELATED_FILE, look):
        return True
    if len(look.columns) > _RELATIONSHIP_COLUMNS_MAX or any(
        map(names.says_customers, look.file_names)
    ):
        return False
    return not any(
        names.says_event(each.label) or names.says_of_person(each.label) or each.holds_emails
        for each in look.every.values()
    )


def object_of(look: FileProfile, person: ColumnProfile | None) -> ColumnProfile | None:
    """The column that names objects: `company_id`, or the own id of a file of companies."""
    columns = [each for each in look.every.values() if each.can_identify and each is not person]
    found = [each for each in columns if _OBJECT_ID.fullmatch(plain_name(each.label))]
    found.sort(key=lambda each: (not each.is_unique, not plain_name(each.label).endswith("id")))
    if not found and person is None and _says(_OBJECT_FILE, look):
        found = [each for each in columns if names.says_own_id(each.label) and each.is_unique]
    return found[0] if found else None


def merged_columns(look: FileProfile) -> tuple[ColumnProfile, ColumnProfile] | None:
    """The columns with who stays and who is merged away."""
    if len(look.columns) > _MERGE_COLUMNS_MAX:
        return None
    columns = [each for each in look.columns.values() if each.can_identify]
    stays = [each for each in columns if _PRIMARY.fullmatch(plain_name(each.label))]
    goes = [each for each in columns if _SECONDARY.fullmatch(plain_name(each.label))]
    return (stays[0], goes[0]) if len(stays) == len(goes) == 1 else None


def _says(pattern: re.Pattern[str], look: FileProfile) -> bool:
    return any(pattern.search(names.subject(each)) for each in look.file_names)


def naming(
    kind: str, look: FileProfile, person: ColumnProfile | None
) -> Iterator[tuple[Setting, tuple[ColumnProfile, ...], str]]:
    """The settings that say what the rows are about.

    Args:
        kind: The kind.
        look: The file.
        person: The column that says who a row is about.

    Yields:
        Each setting, the columns that it uses, and the key that stays open; empty: none.
    """
    if kind == "merges" and (merge := merged_columns(look)):
        for key, column in zip(("primary", "secondary"), merge, strict=True):
            type_ = "email" if column.holds_emails else "id"
            yield Setting(key, {type_: column.name}, ABOUT[key]), (column,), ""
        return
    thing = object_of(look, person)
    if thing is None:
        return
    note = thing.distinct.shown("object", "objects")
    if kind == "objects":
        yield Setting("object_type", TODO, _TYPE_NOTE), (), "object_type"
        yield Setting("identifier", {"object_id": thing.name}, note), (thing,), ""
    elif kind == "relationships":
        related = {"type": TODO, "id": thing.name}
        yield Setting("object", related, f"{note}; type: {_TYPE_NOTE}"), (thing,), "object.type"
