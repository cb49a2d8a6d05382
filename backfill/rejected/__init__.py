"""`rejected.csv` and its lossless twin: written, and read back after people fixed them."""
