"""The official Python and Node clients, every method of them, against the sandbox.

The tables say what is called and what the sandbox must then hold. What a client does by itself
(retries, host names) is not ours to test.
"""

import contextlib
import inspect
import json
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import httpx
import pytest
from customerio import CustomerIO

from backfill.sandbox import SandboxSettings, running
from tests.support.workspaces import as_sent

NODE_CLIENT = "customerio-node@5.2.0"
ULID = "01HB4HBDKTFWYZCK01DMRSWRFD"
EVENT = {"type": "person", "action": "event", "identifiers": {"id": "7"}, "name": "batched"}

# method, arguments, named arguments, the kind of operation that arrives, what became of it
PYTHON = [
    ("identify", ["a/b"], {"email": "a@b.c", "plan": "free"}, "identify", "applied"),
    ("track", ["a/b", "bought", {"price": 5}], {"id": ULID}, "event", "applied"),
    ("track", ["a/b", "bought", {"price": 5}], {"id": ULID}, "event", "duplicate"),
    ("track", ["a/b", "seen"], {"timestamp": 1_500_000_000}, "event", "applied"),
    ("track_anonymous", ["visitor", "looked"], {}, "event", "applied"),
    ("track_anonymous", ["", "invited", {"recipient": "x@y.z"}], {}, "event", "applied"),
    ("pageview", ["a/b", "/pricing"], {"referrer": "x"}, "page", "applied"),
    ("backfill", ["a/b", "bought", 1_400_000_000], {"price": 6}, "event", "applied"),
    ("add_device", ["a/b", "tok", "ios"], {"last_used": 5}, "add_device", "applied"),
    ("delete_device", ["a/b", "tok"], {}, "delete_device", "applied"),
    ("delete_device", ["nobody", "tok"], {}, "delete_device", "ignored"),
    ("identify", ["other"], {"city": "Oslo"}, "identify", "applied"),
    ("merge_customers", ["id", "a/b", "id", "other"], {}, "merge", "applied"),
    ("identify", ["gone"], {}, "identify", "applied"),
    ("suppress", ["gone"], {}, "suppress", "applied"),
    ("identify", ["gone"], {}, "identify", "ignored"),
    ("unsuppress", ["gone"], {}, "unsuppress", "applied"),
    ("identify", ["gone"], {}, "identify", "applied"),
    ("delete", ["gone"], {}, "delete", "applied"),
    ("batch", [[EVENT]], {}, "event", "applied"),
]
UNCALLED = {"send_request", "setup_base_url", "is_valid_id_type", "close"}
"""Public methods of the Python client that are parts of others."""

NODE = [
    ("identify", ["a/b", {"email": "a@b.c", "plan": "free"}], "identify", "applied"),
    ("track", ["a/b", {"name": "bought", "id": ULID, "data": {"price": 5}}], "event", "applied"),
    ("track", ["a/b", {"name": "bought", "id": ULID}], "event", "duplicate"),
    ("trackAnonymous", ["visitor", {"name": "looked"}], "event", "applied"),
    ("trackAnonymous", ["", {"name": "in", "data": {"recipient": "x@y.z"}}], "event", "applied"),
    ("trackPageView", ["a/b", "/pricing"], "page", "applied"),
    ("trackPush", [{"delivery_id": "d1", "event": "opened"}], "push_event", "applied"),
    ("addDevice", ["a/b", "tok", "ios", {"last_used": 5, "model": "x"}], "add_device", "applied"),
    ("deleteDevice", ["a/b", "tok"], "delete_device", "applied"),
    ("identify", ["other", {"city": "Oslo"}], "identify", "applied"),
    ("mergeCustomers", ["id", "a/b", "id", "other"], "merge", "applied"),
    ("identify", ["gone", {}], "identify", "applied"),
    ("suppress", ["gone"], "suppress", "applied"),
    ("unsuppress", ["gone"], "unsuppress", "applied"),
    ("identify", ["gone", {}], "identify", "applied"),
    ("destroy", ["gone"], "delete", "applied"),
    ("batch", [[EVENT]], "event", "applied"),
    ("entity", [EVENT], "event", "applied"),
    ("addCustomersToSegment", [7, ["a/b"]], "add_customers", "applied"),
    ("removeCustomersFromSegment", [7, ["a@b.c"], "email"], "remove_customers", "applied"),
    ("submitForm", ["form1", {"email": "f@g.h", "food": "pizza"}], "form", "applied"),
    ("reportMetric", [{"delivery_id": "d2", "metric": "opened"}], "metric", "applied"),
    ("unsubscribe", ["d3"], "unsubscribe", "applied"),
]
ANSWERS = {"getAccountRegion": {"url": "https://track.customer.io", "region": "us"}}
"""What a method gives that brings no operation."""

CALL_ALL = """
const { TrackClient } = require("customerio-node");
const { url, calls } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const client = new TrackClient("sandbox", "sandbox", { url, retry: { maxRetries: 0 } });
const own = Object.getOwnPropertyNames(TrackClient.prototype).filter((n) => n !== "constructor");
(async () => {
  const answers = [];
  for (const [method, args] of calls) {
    try { answers.push({ answer: await client[method](...args) }); }
    catch (error) { answers.push({ status: error.statusCode, error: String(error.message) }); }
  }
  console.log(JSON.stringify({ own, answers }));
})();
"""


@pytest.fixture(scope="session")
def node_modules():
    """Where the Node client is installed: a cache outside of the repository."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are not installed: the Node client is not tried")
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "backfill-tests" / NODE_CLIENT
    if not (folder / "node_modules" / "customerio-node").is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # another worker may install at the same time: each in its own folder, the first one stays
        fresh = Path(tempfile.mkdtemp(dir=folder.parent))
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", fresh, NODE_CLIENT]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            shutil.rmtree(fresh)
            pytest.skip(f"{NODE_CLIENT} cannot be installed: {done.stderr.strip()[-200:]}")
        with contextlib.suppress(OSError):
            fresh.rename(folder)
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "node_modules"


@pytest.fixture
def shop():
    """A sandbox over plain HTTP, and who looks into it."""
    with running() as sandbox, httpx.Client(base_url=sandbox.url, timeout=60) as client:
        yield client


def arrived(client):
    """Kind and outcome of every operation, in order."""
    arrivals = client.get("/sandbox/arrivals?limit=1000").json()["arrivals"]
    return [(each["kind"], each["outcome"]) for each in arrivals]


def test_every_method_of_the_python_client_is_called():
    """A newer client with more methods asks for more rows in the table."""
    public = {
        name
        for name, _ in inspect.getmembers(CustomerIO, inspect.isfunction)
        if not name.startswith(("_", "get_"))
    }

    assert public - UNCALLED == {row[0] for row in PYTHON}


def test_the_python_client_finds_the_service(monkeypatch):
    """Every method over TLS, as it insists on; each arrives as what it is."""
    with running(SandboxSettings(tls=True)) as sandbox:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(sandbox.ca))
        port = int(sandbox.url.rsplit(":", 1)[1])
        with CustomerIO("sandbox", "sandbox", host="localhost", port=port) as client:
            for method, arguments, named, _, _ in PYTHON:
                answer = getattr(client, method)(*arguments, **named)
                assert (answer.status_code, answer.content) == (200, b"{}\n"), method
        context = ssl.create_default_context(cafile=sandbox.ca)
        with httpx.Client(base_url=sandbox.url, verify=context) as inside:
            assert arrived(inside) == [(kind, outcome) for *_, kind, outcome in PYTHON]
            person = as_sent(inside.get("/sandbox/people/a/b").json())
            people = inside.get("/sandbox/people").json()["people"]

    assert person["attributes"] == {"email": "a@b.c", "plan": "free", "city": "Oslo"}
    assert person["devices"] == []
    assert sorted(event["timestamp"] for event in person["last_events"])[:2] == [
        1_400_000_000,
        1_500_000_000,
    ]
    assert not any(event["timestamp_replaced"] for event in person["last_events"])
    assert [each["id"] for each in people] == ["a/b", "7"]


def call_all(node_modules, url, calls):
    """Let Node call methods of its client; the names of its methods, and what each call gave."""
    told = json.dumps({"url": f"{url}/api/v1", "calls": calls})
    done = subprocess.run(
        ["node", "-e", CALL_ALL],
        input=told,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "NODE_PATH": str(node_modules)},
    )
    found = json.loads(done.stdout)
    return set(found["own"]), found["answers"]


def test_the_node_client_finds_the_service(node_modules, shop):
    """Every method there is; each arrives as what it is."""
    calls = [row[:2] for row in NODE]

    own, answers = call_all(node_modules, shop.base_url, [*calls, *([m, []] for m in ANSWERS)])

    assert own == {row[0] for row in NODE} | set(ANSWERS)
    assert [each.get("error") for each in answers] == [None] * len(answers)
    assert arrived(shop) == [(kind, outcome) for *_, kind, outcome in NODE]
    region = answers[-1]["answer"]
    assert {key: region[key] for key in ("url", "region")} == ANSWERS["getAccountRegion"]
    person = as_sent(shop.get("/sandbox/people/a/b").json())
    assert person["attributes"] == {"email": "a@b.c", "plan": "free", "city": "Oslo"}
    assert person["segments"] == []


def test_the_node_client_understands_refusals(node_modules, shop):
    """400 with sentences, 401 in plain text, 207 with the index."""
    bad = {**EVENT, "name": ""}
    calls = [["identify", ["1", {"a": "x" * 1001}]], ["batch", [[EVENT, bad]]], ["entity", [bad]]]

    _, answers = call_all(node_modules, shop.base_url, calls)

    assert (answers[0]["status"], answers[2]["status"]) == (400, 400)
    assert "cannot be longer than 1000 bytes" in answers[0]["error"]
    (error,) = answers[1]["answer"]["errors"]
    assert (error["batch_index"], error["field"]) == (1, "name")
