"""The key is nowhere; people's data are where they must be, and readable by their owner only."""

import stat
from base64 import b64encode

import pytest

from backfill.sandbox.behaviour import SandboxSettings
from backfill.sandbox.server import running
from tests.support.jobs import CUSTOMERS, EVENTS, job
from tests.support.workspaces import Workspace

KEY = "canary-key-7f3a9"
BASIC = b64encode(f"sandbox:{KEY}".encode()).decode()
PERSON = "canary-person"
ENV = {"CUSTOMERIO_SITE_ID": "sandbox", "CUSTOMERIO_API_KEY": KEY}
FAULTS = (
    {"kind": "status", "status": 500, "body": "html", "requests": [2]},
    {"kind": "malformed_json", "requests": [3]},
    {"kind": "reset_after", "requests": [4]},
    {"kind": "refuse_items", "requests": [5], "items": [0]},
)
ROWS = "".join(f"{PERSON}-{n},{PERSON}-{n}@example.com,{PERSON} name,{n}\n" for n in range(9))
BAD = f"{PERSON}-bad,{PERSON}@example.com,{PERSON} name,{PERSON} age\n,{PERSON},{PERSON},1\n"
TYPED = CUSTOMERS + '[source.columns]\nage = "integer"\n'
FILES = {
    "customers.csv": "id,email,name,age\n" + ROWS + BAD + f"{PERSON}\n",
    "events.csv": "id,event,at,note\n"
    + "".join(f"{PERSON}-{n},bought,2024-01-0{n + 1}T00:00Z,{PERSON} note\n" for n in range(9))
    + f"{PERSON},bought,{PERSON} moment,x\n",
}
KEEPING = {"rejected.csv", "rejected.jsonl", "state.db", "state.db-wal", "snapshot.duckdb"}
"""The files of a job that hold people's data: what is to be fixed, and what a sync compares."""


@pytest.fixture
def guarded():
    """A workspace that only the canary opens."""
    with running(SandboxSettings(api_key=KEY)) as server:
        yield Workspace(server.url, 0)


@pytest.fixture
def everything(tmp_path, backfill, guarded):
    """A job through which the canaries went in every way; gives what was said, by command."""
    pipeline = job(tmp_path, FILES, TYPED, EVENTS)
    sending = ("--url", guarded.url, "--debug")
    said = {}

    def do(*arguments, env=ENV):
        ended = backfill(*arguments, cwd=tmp_path, env=env)
        said[" ".join(map(str, arguments)), len(said)] = ended.stdout + ended.stderr
        return ended.code

    do("check", pipeline)
    do("run", pipeline, *sending, env={**ENV, "CUSTOMERIO_API_KEY": f"{KEY}\n"})
    assert do("run", pipeline, *sending, env={**ENV, "CUSTOMERIO_API_KEY": f"{KEY}-old"}) == 4
    guarded.misbehave(*FAULTS)
    assert do("run", pipeline, *sending, "--json") == 3
    assert all(guarded.fired())
    guarded.misbehave({"kind": "redirect", "location": f"{guarded.url}/{KEY}"})
    assert do("run", pipeline, *sending, "--restart") == 4
    guarded.misbehave()
    assert do("run", pipeline, *sending) == 3
    assert do("retry", pipeline, *sending) == 3
    do("report", pipeline)
    do("status", pipeline)
    (tmp_path / "customers.csv").write_text("id,email,name,age\n")
    assert do("run", pipeline, *sending) == 5
    return said


def _key_is_nowhere(left, said):
    """Neither plain nor as it is sent."""
    for secret in (KEY, BASIC, BASIC.rstrip("=")):
        for path, content in left.items():
            assert secret.encode() not in content, path
        for command, text in said.items():
            assert secret not in text, command


def _people_are_only_where_they_must_be(left, said):
    """In what was rejected, what is planned to be sent, and what a sync compares."""
    for path, content in left.items():
        if path.name not in KEEPING and "plan" not in path.parts:
            assert PERSON.encode() not in content, path
    for command, text in said.items():
        assert PERSON not in text, command


def test_the_key_is_nowhere_and_people_only_where_they_must_be(tmp_path, everything):
    """No file, database, message or traceback holds the key; what holds people is private."""
    state = tmp_path / ".backfill"
    left = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}

    _key_is_nowhere(left, everything)
    _people_are_only_where_they_must_be(left, everything)
    for path in (state, *state.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
