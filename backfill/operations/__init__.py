"""Room 3: accepted rows -> bytes of operations, event ids, batches."""
