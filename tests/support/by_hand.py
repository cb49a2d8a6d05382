"""Work for a sender whose chunks were made by hand."""

import numpy as np
import pyarrow as pa

from backfill.engine.prepare import LeftOut, PreparedChunk
from backfill.operations.encode import Operations
from backfill.rows import Chunk, Position
from tests.support.inputs import an_input


class ByHand:
    """Work whose chunks were made by hand; it notes what is settled, in order."""

    def __init__(self, journal, **chunks):
        self.journal = journal
        self.chunks = chunks
        self.settled = []
        self.noted = {}

    def prepared(self, kind):
        """The chunks of one kind."""
        yield from self.chunks.get(kind, ())

    def settle(self, settlement):
        """Note it, in the journal too."""
        self.journal.settle(settlement)
        why = {each.row: each.reasons for each in settlement.rejections}
        rows = [row for start, stop in settlement.ranges for row in range(start, stop)]
        self.settled.append((settlement.part, rows))
        self.noted |= {(settlement.part, row): why.get(row, ()) for row in rows}

    def taken(self, prepared):
        """Nothing to remember."""

    def fates(self, part, rows):
        """What was noted."""
        return {row: self.noted[part, row] for row in rows.tolist() if (part, row) in self.noted}


def prepared(part, rows, *, alone=False, size=0, left_out=None, beside=0):
    """A chunk of a part whose `rows` are sent, each alone (v1) or together.

    Args:
        part: The part.
        rows: The rows that are sent.
        alone: Each is a request.
        size: How many bytes more each operation has.
        left_out: What becomes of others.
        beside: So many rows more belong to the chunk.
    """
    rows = np.array(rows, np.int64)
    every = np.arange(1, (rows.max() if len(rows) else 0) + beside + 1)
    batch = pa.RecordBatch.from_arrays([pa.array([f"p{row}" for row in every])], ["who"])
    chunk = Chunk(1, batch, every, None, (), Position(int(every[-1]) + 1), "text")
    filling = "x" * size
    texts = pa.array([f'{{"row":{row},"part":{part},"x":"{filling}"}},' for row in rows])
    paths = pa.array([f"/{part}/{row}" for row in rows]) if alone else None
    operations = (Operations(rows, texts, paths, "PUT", part, chunk),) if len(rows) else ()
    return PreparedChunk(an_input(part, f"{part}.csv"), chunk, operations, left_out or LeftOut())
