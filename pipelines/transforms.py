"""The transforms of the pipelines beside it: a DataFrame in, a DataFrame out, chunk by chunk.

A transform gets the rows as they were read, text columns as strings. It may drop rows (they are
skipped) and change columns; it keeps the index, and remembers nothing between chunks.
"""

import pandas as pd


def clean(orders: pd.DataFrame) -> pd.DataFrame:
    """Leave out test orders, and write each currency in one way."""
    orders = orders[orders["status"] != "test"]
    return orders.assign(currency=orders["currency"].str.strip().str.upper())
