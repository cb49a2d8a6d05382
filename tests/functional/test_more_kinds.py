"""Objects, relationships and merges: judged, grouped, sent in order, each with its guards."""

import json

import pytest

from tests.support.checker import reported_in
from tests.support.jobs import CUSTOMERS, EVENTS, HEADER, commits, job, people, rejected
from tests.support.programs import until

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
REMOVALS = RELATIONSHIPS.replace("members*", "left*") + 'action = "remove"\n'
MERGES = """
[[source]]
kind = "merges"
files = ["merges*.csv"]
primary = { id = "keep" }
secondary = { id = "drop" }
"""
SEATS = '[source.columns]\nseats = "integer"\ncreated_at = { from = "since", type = "timestamp" }\n'
VANISHING = '[source.sync]\nvanished = "delete"\ndeletes_max = "100%"\n'


def links(sandbox):
    """Who belongs to which object, with what is known of that."""
    return {
        (who["id"], each["object"]): each["attributes"]
        for who in sandbox.profiles()
        for each in who["relationships"]
    }


def codes(ended, what):
    """The codes of a plan's guards or warnings."""
    return {each["code"] for each in json.loads(ended.stdout)[what]}


def test_every_kind_is_sent_in_its_order(tmp_path, send, sandbox):
    """Customers, objects, relationships, merges, events, deletions, whatever the file's order."""
    files = {
        "customers.csv": people("1", "2", "3"),
        "companies.csv": f"company,seats,since\nacme,50,{AT}\n",
        "members.csv": "id,company,role\n1,acme,admin\n2,acme,\n3,acme,guest\n",
        "merges.csv": "keep,drop\n1,3\n",
        "events.csv": f"{HEADER}2,seen,{AT},1\n",
    }

    done = send(job(tmp_path, files, EVENTS, MERGES, RELATIONSHIPS, OBJECTS + SEATS, CUSTOMERS))

    assert done.code == 0
    kinds = [each["kind"] for each in sandbox.arrivals()]
    related = ["add_relationships"] * 3
    assert kinds == [*["identify"] * 3, "object_identify", *related, "merge", "event"]
    acme = sandbox.objects()["1:acme"]
    assert acme["attributes"] == {"seats": 50, "created_at": 1_704_067_200}
    assert links(sandbox) == {("1", "1:acme"): {"role": "admin"}, ("2", "1:acme"): {}}
    assert sandbox.people().keys() == {"1", "2"}


def test_rows_of_an_object_or_a_relationship_are_one_operation(tmp_path, send, sandbox):
    """Field by field, later non-null values win, as those of people; each bad row is reported."""
    files = {
        "companies.csv": f"company,seats,plan\nacme,1,gold\n,2,\n{'x' * 151},3,\nacme,many,\n",
        "companies_2.csv": "company,seats,plan\nacme,9,\nzeta,,silver\n",
        "members.csv": "id,company,role\n1,acme,admin\n1,zeta,\n,acme,\n1,,\n1,acme,owner\n",
    }

    done = send(
        job(tmp_path, files, OBJECTS + '[source.columns]\nseats = "integer"\n', RELATIONSHIPS)
    )

    assert done.code == 3
    assert (done.summary["delivered"], done.summary["merged"]) == (4, 2)
    assert done.summary["rejections_by_reason"] == {
        "identifier_missing": 3,
        "identifier_too_long": 1,
        "not_an_integer": 1,
    }
    objects = sandbox.objects()
    assert objects["1:acme"]["attributes"] == {"seats": 9, "plan": "gold"}
    assert objects["1:zeta"]["attributes"] == {"plan": "silver"}
    assert links(sandbox) == {("1", "1:acme"): {"role": "owner"}, ("1", "1:zeta"): {}}
    assert ("members.csv", 4) in reported_in(tmp_path / ".backfill/job")


def test_relationships_of_unknown_people_wait_until_a_setting_says_so(
    tmp_path, send, look, sandbox
):
    """They would become profiles; rejected ones are sent by a retry once they are known."""
    files = {
        "customers.csv": people("1"),
        "companies.csv": "company\nacme\n",
        "members.csv": "id,company,role\n1,acme,a\n2,acme,b\n1,zeta,c\n",
    }
    refused = job(tmp_path, files, CUSTOMERS, OBJECTS, RELATIONSHIPS)
    assert codes(look(refused, command="plan"), "guards") == {"unknown_people"}
    assert codes(look(refused, command="plan"), "warnings") >= {
        "unknown_objects",
        "objects_trigger",
    }
    assert send(refused).code == 7
    assert not sandbox.arrivals()

    rejecting = RELATIONSHIPS + 'unknown_people = "reject"\n'
    pipeline = job(tmp_path, {}, CUSTOMERS, OBJECTS, rejecting)
    done = send(pipeline)
    assert done.summary["rejections_by_reason"] == {"unknown_person": 1}
    assert links(sandbox).keys() == {("1", "1:acme"), ("1", "1:zeta")}

    sending = job(tmp_path, {}, CUSTOMERS, OBJECTS, RELATIONSHIPS + 'unknown_people = "send"\n')
    assert send(sending, command="retry").code == 0
    assert links(sandbox)["2", "1:acme"] == {"role": "b"}


def test_relationships_are_removed_once_and_never_while_they_are_added(
    tmp_path, send, look, sandbox
):
    """The order of the two would count, and no setting can tell it."""
    files = {
        "members.csv": "id,company\n1,acme\n2,acme\n",
        "left.csv": "id,company,note\n3,acme,x\n2,acme,y\n",
    }
    both = job(tmp_path, files, RELATIONSHIPS, REMOVALS)
    assert codes(look(both, command="plan"), "guards") == {"removes_added"}
    assert send(job(tmp_path, {}, RELATIONSHIPS)).code == 0

    gone = job(tmp_path, {"left.csv": "id,company\n2,acme\n2,acme\n"}, REMOVALS, name="gone")
    done = send(gone)

    assert done.summary["sources"][0]["skipped_by_reason"] == {"repeated_person": 1}
    assert done.summary["deletes"] == 0  # nobody is
    assert links(sandbox).keys() == {("1", "1:acme")}


def test_a_merge_is_sent_only_where_its_order_does_not_count(tmp_path, send, look, sandbox):
    """It cannot be undone: into oneself is rejected, chains and too many are refused."""
    rows = "keep,drop\n1,2\n1,2\n3,3\n"
    chained = job(tmp_path, {"merges.csv": rows + "2,4\n1,5\n3,5\n"}, MERGES)
    guards = json.loads(look(chained, command="plan").stdout)["guards"]
    assert [each["code"] for each in guards] == ["merges_chained"]
    assert "merges.csv row 1" in guards[0]["what"]
    many = "keep,drop\n" + "".join(f"1,s{n}\n" for n in range(101))
    too_many = job(tmp_path, {"merges.csv": many}, MERGES)
    assert codes(look(too_many, command="plan"), "guards") == {"merges_max"}
    assert "merges_max = 101" in send(too_many).stderr
    assert not sandbox.arrivals()

    files = {
        "customers.csv": people("1", "2"),
        "merges.csv": rows + "lost,6\n",
        "events.csv": f"{HEADER}2,seen,{AT},1\n",
    }
    pipeline = job(tmp_path, files, MERGES, CUSTOMERS, EVENTS, name="merged")
    warnings = codes(look(pipeline, command="plan"), "warnings")
    assert warnings >= {"events_of_merged", "lost_primaries", "customers_merged"}
    merged = send(pipeline)
    assert merged.code == 3, merged.stderr
    assert merged.summary["rejections_by_reason"] == {"merged_into_itself": 1}
    assert merged.summary["sources"][0]["skipped_by_reason"] == {"repeated_person": 1}
    assert [each["kind"] for each in sandbox.arrivals()].count("merge") == 2

    table = rejected(pipeline, "merged")
    fixed = table.read_text("utf-8-sig")
    table.write_text(fixed.replace(",3,3,", ",2,3,"))  # who is merged away by now
    refused = send(pipeline, command="retry")
    assert (refused.code, "other merges name" in refused.stderr) == (7, True)
    table.write_text(fixed.replace(",3,3,", ",1,3,"))
    assert send(pipeline, command="retry").code == 0


def test_nights_send_what_differs_and_remove_only_when_asked(tmp_path, send, sandbox):
    """Objects and relationships as people; a merge once."""
    first = {
        "customers.csv": people("1", "2", "3", "4"),
        "companies.csv": "company,plan\nacme,gold\nzeta,gold\n",
        "members.csv": "id,company,role\n1,acme,a\n2,acme,b\n1,zeta,c\n4,zeta,d\n",
        "merges.csv": "keep,drop\n1,3\n",
    }
    tables = CUSTOMERS, OBJECTS, MERGES, RELATIONSHIPS
    pipeline = job(tmp_path, first, *tables)
    assert send(pipeline, command="sync").code == 0
    assert send(pipeline, command="sync").summary["this_run"]["requests"] == 0

    second = {
        "companies.csv": "company,plan\nacme,gold\nzeta,silver\n",
        "members.csv": "id,company,role\n1,acme,a\n1,zeta,x\n4,zeta,d\n",
    }
    done = send(job(tmp_path, second, *tables), command="sync")
    assert done.summary["this_run"]["delivered"] == 2
    assert "relationships: 0 new, 1 changed, 2 unchanged, 1 relationship vanished" in done.stderr
    assert links(sandbox)["2", "1:acme"] == {"role": "b"}
    assert links(sandbox)["1", "1:zeta"] == {"role": "x"}
    assert sandbox.objects()["1:zeta"]["attributes"] == {"plan": "silver"}

    asked = send(job(tmp_path, {}, *tables[:3], RELATIONSHIPS + VANISHING), command="sync")
    assert asked.code == 0
    assert [each["deletes"] for each in asked.summary["sources"]] == [0, 0, 0, 1]
    assert links(sandbox).keys() == {("1", "1:acme"), ("1", "1:zeta"), ("4", "1:zeta")}
    assert sandbox.people().keys() == {"1", "2", "4"}
    assert [each["kind"] for each in sandbox.arrivals()].count("merge") == 1
    assert send(job(tmp_path, {}, *tables), command="sync").summary["this_run"]["requests"] == 0


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ((OBJECTS, '[destination]\napi = "v1"\n'), 'objects, which need api = "v2"'),
        ((OBJECTS.replace("= 1", '= "companies"'),), "the number of the object type"),
        ((OBJECTS.replace("{ object_id", "{ id"),), "identifier.id: no such key\n"),
        ((OBJECTS + VANISHING,), "about people and relationships"),
        ((REMOVALS + '[source.sync]\nmode = "diff"\n',), 'mode = "files"'),
    ],
)
def test_settings_that_cannot_be_carried_out_are_refused(tmp_path, look, tables, says):
    """Before anything is read, with what to write instead."""
    files = {"companies.csv": "company\nacme\n", "left.csv": "id,company\n1,acme\n"}
    refused = look(job(tmp_path, files, *tables))
    assert refused.code == 2
    assert says in refused.stderr


def test_init_tells_the_kinds_apart_and_asks_for_the_object_type(tmp_path, backfill, send, sandbox):
    """By structure; where a column of objects may be an attribute of people, the kind is open."""
    files = {
        "customers.csv": "customer_id,email,company_id\n1,a@x.com,acme\n2,b@x.com,acme\n",
        "companies.csv": "company_id,name,seats\nacme,Acme,50\nzeta,Zeta,7\n",
        "staff.csv": "customer_id,company_id,role\n1,acme,admin\n1,zeta,x\n2,acme,y\n",
        "duplicates.csv": "primary_id,duplicate_id\n1,2\n",
        "maybe.csv": "customer_id,company_id\n1,acme\n2,zeta\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    made = backfill("init", "-o", "job.toml", *files, "--json")

    kinds = {each["files"][0]: each["kind"] for each in json.loads(made.stdout)["sources"]}
    assert kinds == {
        "customers.csv": "customers",
        "companies.csv": "objects",
        "staff.csv": "relationships",
        "maybe.csv": "relationships",
        "duplicates.csv": "merges",
    }
    path = tmp_path / "job.toml"
    assert backfill("check", path).stderr.count("such as 1") == 3
    text = path.read_text().replace('object_type = "TODO"', "object_type = 1")
    text = text.replace('type = "TODO"', 'type = "1"')
    path.write_text(text.replace('kind = "TODO"', 'kind = "relationships"'))
    done = send(path)
    assert done.code == 0, done.stderr
    assert links(sandbox).keys() == {("1", "1:acme"), ("1", "1:zeta")}


@pytest.mark.parametrize("step", [2, 4, 6])
def test_a_killed_night_ends_as_if_it_had_not_been(tmp_path, start_sending, send, sandbox, step):
    """Whatever was sent before the kill: kinds in their order, what is known of each whole."""
    customers, members = [str(n) for n in range(40)], range(40)
    files = {
        "customers.csv": people(*customers),
        "companies.csv": "company,plan\n" + "".join(f"c{n},old\n" for n in range(9)),
        "members.csv": "id,company,role\n" + "".join(f"{n},c{n % 9},old\n" for n in members),
    }
    vanishing = VANISHING + 'rows_change_max = "100%"\n'
    tables = CUSTOMERS, OBJECTS, RELATIONSHIPS + vanishing, MERGES
    night = job(tmp_path, {**files, "merges.csv": "keep,drop\n"}, *tables)
    assert send(night, command="sync").code == 0
    gone = {3, 7}
    changed = "".join(f"{n},c{n % 9},new\n{n},c0,\n" for n in members if n not in gone)
    job(
        tmp_path,
        {
            "companies.csv": files["companies.csv"].replace("old", "new"),
            "members.csv": f"id,company,role\n{changed}",
            "merges.csv": "keep,drop\n1,39\n2,38\n",
        },
        *tables,
    )

    def steps():
        return sandbox.stats()["requests"] + commits(night)

    wanted = steps() + step
    running = start_sending(night, command="sync")
    until(lambda: steps() >= wanted or not running.state)
    running.kill()
    done = send(night, command="sync")

    assert done.code == 0, done.stderr
    assert sandbox.people().keys() == {*customers} - {"38", "39"}
    assert {each["attributes"]["plan"] for each in sandbox.objects().values()} == {"new"}
    stay = [n for n in range(38) if n not in gone]
    expected = {(str(n), f"1:c{n % 9}") for n in stay} | {(str(n), "1:c0") for n in stay}
    expected |= {("1", "1:c3"), ("2", "1:c2")}  # whom a merge leaves has what the other one had
    assert links(sandbox).keys() == expected
