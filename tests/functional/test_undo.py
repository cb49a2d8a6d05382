"""What an import created can be deleted again: exactly that, as far as anybody can know."""

import tomllib

import httpx

from tests.support.jobs import job
from tests.support.programs import until

TABLE = """
[[source]]
kind = "customers"
files = ["customers.csv"]
identifier = { email = "email" }
"""
PEOPLE = "email,n\n" + "".join(f"P{n}@x.com,{n}\n" for n in range(250))
UNDO = "[import]\nundo = true\n"


def there_before(sandbox, *addresses):
    """Put people into the workspace."""
    for each in addresses:
        httpx.put(
            f"{sandbox.url}/api/v1/customers/{each}", json={"old": 1}, auth=("sandbox", "sandbox")
        ).raise_for_status()


def test_who_was_not_there_before_can_be_deleted_again(tmp_path, send, backfill, sandbox):
    """And nobody else; behind the guard of deletions, as ever."""
    there_before(sandbox, "p7@x.com", "P8@x.com", "other@x.com")
    path = job(tmp_path, {"customers.csv": PEOPLE}, TABLE, top=UNDO)
    assert send(path).code == 0
    assert len(sandbox.people()) == 251
    told = backfill("report", path, "--undo", "--json")
    assert told.code == 0
    assert told.summary["people"] == 248
    assert "events" in " ".join(told.summary["unknown"])
    assert "retry" in " ".join(told.summary["unknown"])
    undo = tmp_path / ".backfill" / "job" / "undo" / "undo.toml"
    refused = send(undo)
    assert refused.code == 7
    assert "deletes_max" in refused.stderr
    undo.write_text(undo.read_text().replace("deletes_max = 100", "deletes_max = 248"))
    assert send(undo).code == 0
    assert {each.lower() for each in sandbox.people()} == {"p7@x.com", "p8@x.com", "other@x.com"}


def test_a_rehearsal_is_undone_where_it_was(tmp_path, send, backfill, sandbox):
    """Whom it created the real workspace may have had; and with the credentials that it had."""
    keys = tmp_path / "keys.toml"
    keys.write_text('site_id = "sandbox"\napi_key = "sandbox"\napp_api_key = "sandbox"\n')
    keys.chmod(0o600)
    destination = '[destination]\ncredentials = "keys.toml"\n'
    path = job(tmp_path, {"customers.csv": numbered_people(0, 3)}, TABLE, destination, top=UNDO)
    assert send(path).code == 0
    assert backfill("report", path, "--undo").code == 0

    undo = tmp_path / ".backfill" / "job" / "undo" / "undo.toml"
    settings = tomllib.loads(undo.read_text())["destination"]
    assert settings == {"url": sandbox.url, "credentials": str(keys)}
    assert backfill("run", undo, "--yes", "--json").code == 0
    assert sandbox.people() == {}


def test_a_run_that_goes_on_does_not_take_its_own_people_for_old(tmp_path, send, backfill, sandbox):
    """They were looked for before the first request, once."""
    path = job(tmp_path, {"customers.csv": PEOPLE}, TABLE, top=UNDO)
    assert send(path, "--limit", "10").code == 0
    assert send(path).code == 0
    assert len(sandbox.people()) == 250
    assert backfill("report", path, "--undo", "--json").summary["people"] == 250


def numbered_people(first: int, end: int, n: int = 1) -> str:
    """A file of people who differ in their address."""
    return "email,n\n" + "".join(f"p{each}@x.com,{n}\n" for each in range(first, end))


def named(tmp_path) -> list[str]:
    """Whom the undo list names."""
    return (tmp_path / ".backfill/job/undo/email.csv").read_text().split()[1:]


def test_whoever_came_between_two_plans_is_left_out(tmp_path, send, backfill, sandbox):
    """Not sent by the first, made by somebody else, sent by the second: not created by the job.

    And nobody is named twice, however many rows, files and look-ups name them.
    """
    files = {"customers.csv": numbered_people(0, 20)}
    path = job(tmp_path, files, TABLE.replace("customers.csv", "customers*.csv"), top=UNDO)
    assert send(path, "--limit", "10").code == 0
    there_before(sandbox, "p15@x.com")
    (tmp_path / "customers2.csv").write_text(numbered_people(5, 30) + "p29@x.com,2\n")
    assert send(path, "--append").code == 0

    assert backfill("report", path, "--undo", "--json").summary["people"] == 29
    assert named(tmp_path) == [f"p{each}@x.com" for each in range(30) if each != 15]


def test_nights_are_undone_together(tmp_path, backfill, sandbox):
    """Of whom an earlier night created no row is left; whoever was there before stays out."""
    there_before(sandbox, "p3@x.com")
    path = job(tmp_path, {"customers.csv": numbered_people(0, 10)}, TABLE, top=UNDO)
    for night in (numbered_people(0, 10), numbered_people(0, 12), numbered_people(2, 13, n=2)):
        (tmp_path / "customers.csv").write_text(night)
        assert backfill("sync", path, "--url", sandbox.url, "--yes").code == 0
        assert backfill("report", path, "--undo").code == 0

    assert sorted(named(tmp_path)) == sorted(f"p{each}@x.com" for each in range(13) if each != 3)


def test_who_may_have_arrived_is_said(tmp_path, start_sending, send, backfill, sandbox):
    """A run was killed before the answer: nobody knows, until it has gone on."""
    sandbox.misbehave({"kind": "hang", "seconds": 60, "path": "/api/v2/batch"})
    path = job(tmp_path, {"customers.csv": numbered_people(0, 5)}, TABLE, top=UNDO)
    command = start_sending(path)
    until(lambda: sandbox.fired() == [1])
    command.kill()
    sandbox.misbehave()

    told = backfill("report", path, "--undo", "--json").summary
    assert told["people"] == 0
    assert "up to 5 rows that were under way" in told["unknown"][0]
    assert send(path).code == 0
    told = backfill("report", path, "--undo", "--json").summary
    assert (told["people"], "under way" in str(told["unknown"])) == (5, False)


def test_a_job_that_begins_anew_leaves_out_whom_it_created_before(
    tmp_path, send, backfill, sandbox
):
    """They are there by now, and the rows that named them may be others."""
    path = job(tmp_path, {"customers.csv": PEOPLE}, TABLE, top=UNDO)
    assert send(path, "--limit", "10").code == 0
    assert send(path, "--restart").code == 0
    assert len(sandbox.people()) == 250
    told = backfill("report", path, "--undo", "--json").summary
    assert told["people"] == 240
    assert "--restart" in " ".join(told["unknown"])


def test_what_nobody_looked_for_is_not_known(tmp_path, send, backfill):
    """The service does not say whom it creates."""
    path = job(tmp_path, {"customers.csv": PEOPLE}, TABLE)
    assert send(path).code == 0
    ended = backfill("report", path, "--undo")
    assert ended.code == 2
    assert "undo = true" in ended.stderr


def test_people_who_may_be_taken_over_are_refused(tmp_path, send, sandbox):
    """An id that is new and an address that is not: that person would be deleted by mistake."""
    table = TABLE.replace('{ email = "email" }', '{ id = "n" }')
    ended = send(job(tmp_path, {"customers.csv": PEOPLE}, table, top=UNDO))
    assert ended.code == 7
    assert "taken over" in ended.stderr
    assert sandbox.people() == {}


def test_a_wrong_key_of_the_app_api_stops_it_before_anything_is_sent(tmp_path, send, sandbox):
    """Without it nobody could look for them."""
    files = {"customers.csv": PEOPLE}
    ended = send(
        job(tmp_path, files, TABLE, top=UNDO), env={"CUSTOMERIO_APP_API_KEY": "not-the-key"}
    )
    assert (ended.code, "CUSTOMERIO_APP_API_KEY" in ended.stderr) == (4, True)
    assert sandbox.people() == {}


def test_a_damaged_look_up_is_said(tmp_path, send, backfill):
    """6, with the file: an empty list would say that nothing is to be undone."""
    path = job(tmp_path, {"customers.csv": PEOPLE}, TABLE, top=UNDO)
    assert send(path).code == 0
    (found,) = (tmp_path / ".backfill/job/new_people").glob("*.parquet")
    whole = found.read_bytes()
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF
    for damage in (whole[:-20], b"", bytes(flipped)):
        found.write_bytes(damage)
        ended = backfill("report", path, "--undo")
        assert ended.code == 6, ended.stderr
        assert found.name in ended.stderr
    found.unlink()
    assert backfill("report", path, "--undo").code == 6
