"""What a sync knows of people stays true when a retry or a refused deletion comes in between."""

from tests.support.jobs import AGES, DELETIONS, job, rejected


def test_whom_a_retry_sent_is_sent_again_as_the_source_has_them(tmp_path, send, sandbox):
    """A correction by hand lasts until the next night, whatever was delivered before."""

    def night(age):
        return send(job(tmp_path, {"customers.csv": f"id,age\np1,{age}\n"}, AGES), command="sync")

    assert night(1).summary["delivered"] == 1
    assert night("old").code == 3
    fixed = rejected(tmp_path / "pipeline.toml")
    fixed.write_text(fixed.read_text("utf-8-sig").replace("old", "77"), "utf-8-sig")
    assert send(tmp_path / "pipeline.toml", command="retry").code == 0
    assert sandbox.people()["p1"]["attributes"] == {"age": 77}
    assert night(1).summary["this_run"]["delivered"] == 1
    assert sandbox.people()["p1"]["attributes"] == {"age": 1}


def test_whom_the_api_did_not_delete_is_still_known(tmp_path, send, sandbox):
    """They are as they were: when they come back there is nothing to send."""
    people = {"customers.csv": "id,age\np1,1\np2,1\n"}
    allowed = '[source.sync]\nrows_change_max = "90%"\n'
    tables = f"{AGES}{allowed}", DELETIONS
    nobody = {"gone-0.csv": "id\n"}
    assert send(job(tmp_path, people | nobody, *tables), command="sync").code == 0
    sandbox.misbehave({"kind": "refuse_items", "item_rate": 1.0})
    gone = {"customers.csv": "id,age\np1,1\n", "gone-1.csv": "id\np2\n"}
    assert send(job(tmp_path, gone, *tables), command="sync").code == 3
    sandbox.misbehave()
    done = send(job(tmp_path, people, *tables), command="sync")
    assert done.summary["sources"][0]["skipped_by_reason"] == {"unchanged": 2}
    assert set(sandbox.people()) == {"p1", "p2"}
