"""Files nobody has described -> a pipeline file, with the evidence for each of its lines.

    looks = look_at([Path("customers.csv")], folder, progress)
    text = pipeline_text(propose(looks, None, nobody), sum(each.rows for each in looks), path)

Every row is looked at, in memory that does not depend on how many there are. Nothing is guessed:
what nothing proves is asked, or stands as TODO, which `check` refuses by name.
"""

from backfill.proposing.looks import Look, look_at
from backfill.proposing.proposals import propose
from backfill.proposing.questions import Ask, Question, nobody, zone
from backfill.proposing.settings import in_one_line
from backfill.proposing.tables import TODO, Proposal
from backfill.proposing.writing import open_keys, pipeline_text

__all__ = [
    "TODO",
    "Ask",
    "Look",
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
