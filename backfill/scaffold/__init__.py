"""Files nobody has described -> a pipeline file, with the evidence for each of its lines.

    files = [Path("customers.csv")]
    looks = look_at(text_formats(files), files, folder, progress)
    text = pipeline_text(propose(looks, None, nobody), sum(each.rows for each in looks), path)

Every row is looked at, in memory that does not depend on how many there are. Nothing is guessed:
what nothing proves is asked, or stands as TODO, which `check` refuses by name.
"""

from backfill.scaffold.database_profile import (
    AskedRows,
    address_of,
    look_at_database,
    shows_password,
)
from backfill.scaffold.file_profile import (
    FileProfile,
    TextFormat,
    look_at,
    passed_over,
    text_formats,
)
from backfill.scaffold.pipeline_text import Proposal, in_one_line, open_keys, pipeline_text, some
from backfill.scaffold.proposals import propose
from backfill.scaffold.questions import Ask, Question, nobody, zone

__all__ = [
    "Ask",
    "AskedRows",
    "FileProfile",
    "Proposal",
    "Question",
    "TextFormat",
    "address_of",
    "in_one_line",
    "look_at",
    "look_at_database",
    "nobody",
    "open_keys",
    "passed_over",
    "pipeline_text",
    "propose",
    "shows_password",
    "some",
    "text_formats",
    "zone",
]
