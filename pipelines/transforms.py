"""The transforms of the pipelines beside it: a DataFrame in, a DataFrame out, chunk by chunk.

A transform gets the rows as they were read, text columns as strings. It may drop rows (they are
skipped) and change columns; it keeps the index, and remembers nothing between chunks.
"""

import pandas as pd


def clean(orders: pd.DataFrame) -> pd.DataFrame:
    """Leave out test orders, and write each currency in one way."""
    orders = orders[orders["status"] != "test"]
    return orders.assign(currency=orders["currency"].str.strip().str.upper())


def unnest(export: pd.DataFrame) -> pd.DataFrame:
    """Take Mixpanel's events out of their `properties`, without the `$` of its own ones."""
    properties = pd.DataFrame(export["properties"].tolist(), index=export.index, dtype=object)
    properties = properties.rename(columns=lambda name: name.removeprefix("$"))
    return properties.assign(event=export["event"].str.lower().str.replace(" ", "_"))


def clean_zip(items: pd.DataFrame) -> pd.DataFrame:
    """Write each postal code as it was before the shop put a quote in front of it."""
    return items.assign(**{"Shipping Zip": items["Shipping Zip"].str.removeprefix("'")})
