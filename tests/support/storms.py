"""What goes wrong at the service while a run is killed again and again."""

LATENCY_S = 0.1

REQUESTS_A_FAULT = 25
"""Each kind of fault happens once in so many requests: by chance alone, one might never."""


def storm_faults(dice, kills):
    """The script of the storm: what hits which request, counted over all starts."""

    def now_and_then():
        starts = range(1, REQUESTS_A_FAULT * (kills + 2), REQUESTS_A_FAULT)
        return {"requests": [start + dice.randrange(REQUESTS_A_FAULT) for start in starts]}

    kinds = (
        {
            "kind": "refuse_items",
            "requests": [9, 10, 11, 31, 32, 33],
            "items": [0, 3],
        },
        {"kind": "lost_answer"} | now_and_then(),
        {"kind": "reset_before"} | now_and_then(),
        {"kind": "reset_after"} | now_and_then(),
        {"kind": "status", "status": 500} | now_and_then(),
        {"kind": "status", "status": 429, "retry_after": "0"} | now_and_then(),
        {"kind": "latency", "seconds": LATENCY_S},
    )
    return [{**kind, "method": "POST"} for kind in kinds]
