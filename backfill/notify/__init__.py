"""Who is told of a call when it has ended: the history, a webhook, metrics."""
