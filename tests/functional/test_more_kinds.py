"""Objects, relationships and merges: judged, grouped, sent in order, each with its guards."""

from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, job, people

AT = "2024-01-01T00:00:00Z"
OBJECTS = """
[[source]]
kind = "objects"
files = ["companies*.csv"]
object_type = 1
identifier = { object_id = "company" }
"""
RELATIONSHIPS = """
[[source]]
kind = "relationships"
files = ["members*.csv"]
identifier = { id = "id" }
object = { type = "1", id = "company" }
"""
MERGES = """
[[source]]
kind = "merges"
files = ["merges*.csv"]
primary = { id = "keep" }
secondary = { id = "drop" }
"""
SEATS = '[source.columns]\nseats = "integer"\ncreated_at = { from = "since", type = "timestamp" }\n'


def test_every_kind_is_sent_in_its_order(tmp_path, send, sandbox):
    """Customers, objects, relationships, merges, events, deletions, whatever the file's order."""
    files = {
        "customers.csv": people("1", "2", "3"),
        "companies.csv": "company,seats,since\nacme,50,2024-01-01T00:00:00Z\n",
        "members.csv": "id,company,role\n1,acme,admin\n2,acme,\n3,acme,guest\n",
        "merges.csv": "keep,drop\n1,3\n",
        "events.csv": f"{HEADER}2,seen,{AT},1\n",
    }

    done = send(job(tmp_path, files, EVENTS, MERGES, RELATIONSHIPS, OBJECTS + SEATS, CUSTOMERS))

    assert done.code == 0
    kinds = [each["kind"] for each in sandbox.arrivals()]
    assert kinds == [
        *["identify"] * 3,
        "object_identify",
        *["add_relationships"] * 3,
        "merge",
        "event",
    ]
    acme = sandbox.objects()["1:acme"]
    assert acme["attributes"] == {"seats": 50, "created_at": 1704067200}
    assert sandbox.people().keys() == {"1", "2"}
