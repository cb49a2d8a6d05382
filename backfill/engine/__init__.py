"""The second pass: prepare chunks (2 -> 3), send batches (3 -> 4 -> 5), account for every row."""
