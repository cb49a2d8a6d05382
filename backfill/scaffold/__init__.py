"""Files nobody has described -> a pipeline file, with the evidence for each of its lines.

    looks = look_at([Path("customers.csv")], folder, progress)
    text = pipeline_text(propose(looks, None, nobody), sum(each.rows for each in looks), path)

Every row is looked at, in memory that does not depend on how many there are. Nothing is guessed:
what nothing proves is asked, or stands as TODO, which `check` refuses by name.
"""

from backfill.scaffold.file_profile import FileProfile, look_at
from backfill.scaffold.pipeline_text import Proposal, in_one_line, open_keys, pipeline_text
from backfill.scaffold.proposals import propose
from backfill.scaffold.questions import Ask, Question, nobody, zone
from backfill.scaffold.source_tables import TODO

__all__ = [
    "TODO",
    "Ask",
    "FileProfile",
    "Proposal",
    "Question",
    "in_one_line",
    "look_at",
    "nobody",
    "open_keys",
    "pipeline_text",
    "propose",
    "zone",
]
