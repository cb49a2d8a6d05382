"""A webhook hears what it asked for, and whatever it does, the call ends as it would have."""

import json
import queue
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.jobs import CUSTOMERS, job, people
from tests.support.programs import until
from tests.support.workspaces import free_port

BAD = "id,email\n,nobody@example.com\n"


class Hook:
    """A webhook that keeps what came.

    Args:
        url: Where it is.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.came: queue.SimpleQueue[dict] = queue.SimpleQueue()

    def heard(self) -> list[dict]:
        """What came since the last time."""
        return [self.came.get() for _ in range(self.came.qsize())]


@contextmanager
def listening(status: int):
    """Run a webhook that answers with a status."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.came.put(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_address[1]}/T0/secret")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield hook
        server.shutdown()
        thread.join()


@pytest.fixture
def hook():
    """A webhook that works."""
    with listening(200) as given:
        yield given


@pytest.fixture
def nightly(tmp_path):
    """Writes tonight's export and the pipeline."""

    def write(export: str, notify: str = 'webhook_env = "HOOK"', url: str = ""):
        settings = f'[destination]\nurl = "{url}"\noutage_max = "1s"' if url else ""
        return job(tmp_path, {"customers.csv": export}, f"[notify]\n{notify}", settings, CUSTOMERS)

    return write


def test_nights_are_told_by_what_changed(nightly, backfill, sandbox, hook):
    """A failure, its recovery, rejections; a night like any other is no news."""
    env, good = {"HOOK": hook.url}, people(*"abcd")
    told = []
    for export in (good, "id,mail\n", good, good, good + ",x@y.zz\n"):
        done = backfill("sync", nightly(export), "--url", sandbox.url, env=env)
        told.append((done.code, [each["occasions"] for each in hook.heard()]))
    assert told[0] == (0, [])
    assert told[1][0] not in (0, 3)
    assert told[1][1] == [["failure"]]
    assert told[2:] == [(0, [["recovery", "success"]]), (0, []), (3, [["rejections"]])]


def test_a_message_reads_well_and_holds_nobody(nightly, backfill, sandbox, hook):
    """Slack shows `text`; there is no cell of a row, no path and no secret anywhere."""
    pipeline = nightly(people("jane") + BAD.splitlines()[1] + "\n", f'webhook = "{hook.url}"')
    done = backfill("run", pipeline, "--url", sandbox.url)
    assert done.code == 3
    (message,) = hook.heard()
    assert message["text"].startswith("backfill run job is done, and 1 row is rejected. ")
    assert (message["exit"], message["delivered"], message["rejected"]) == (3, 1, 1)
    written = json.dumps(message)
    assert "jane" not in written
    assert "example.com" not in written
    assert str(pipeline.parent) not in written
    assert "secret" not in done.stderr + done.stdout


def test_success_is_told_to_who_asks(nightly, backfill, sandbox, hook):
    """`on` is what is listened to, and nothing else."""
    pipeline = nightly(people("a"), f'webhook = "{hook.url}"\non = ["success"]')
    backfill("run", pipeline, "--url", sandbox.url)
    assert [each["occasions"] for each in hook.heard()] == [["success"]]


def test_a_webhook_that_fails_changes_nothing(nightly, backfill, sandbox):
    """The exit code and the last line are those of the run; a line before says what happened."""
    with listening(500) as hook:
        pipeline = nightly(people("a"), f'webhook = "{hook.url}"\non = ["success"]')
        done = backfill("run", pipeline, "--url", sandbox.url, "--json")
        assert len(hook.heard()) == 2
    assert (done.code, done.summary["delivered"]) == (0, 1)
    assert "note: the notification was not sent: the webhook answered 500" in done.stderr
    assert done.next_step.startswith("nothing to do")
    assert hook.url not in done.stderr
    (call,) = backfill("status", pipeline, "--history", "--json").summary["jobs"][0]["history"]
    assert call["notified"] == "the webhook answered 500"


@pytest.mark.sends_together("the second is turned away while the first runs")
def test_a_start_that_overlaps_is_told(nightly, backfill, start, sandbox, hook):
    """It ends with 6 at once, which somebody should know of."""
    sandbox.misbehave({"kind": "latency", "seconds": 5.0, "method": "POST"})
    pipeline = nightly(people("a"))
    first = start("run", pipeline, "--url", sandbox.url)
    until(lambda: sandbox.fired()[0])
    done = backfill("sync", pipeline, "--url", sandbox.url, env={"HOOK": hook.url})
    assert done.code == 6
    assert [each["exit"] for each in hook.heard()] == [6]
    first.kill()


def test_settings_that_cannot_tell_anybody_are_refused(nightly, backfill):
    """By key, without quoting a url that may be a secret."""
    for notify, sentence in (
        ("", "give webhook"),
        ('webhook = "http://hooks.example.com/secret"', "is not https"),
        ('webhook = "https://x.example/"\nwebhook_env = "HOOK"', "give webhook"),
        ('webhook_env = "HOOK"\non = ["always"]', "must be one of"),
    ):
        done = backfill("run", nightly(people("a"), notify))
        assert done.code == 2
        assert "notify" in done.stderr
        assert sentence in done.stderr
        assert "secret" not in done.stderr


def test_the_webhook_is_in_no_file_but_the_pipelines(nightly, backfill, sandbox, hook, tmp_path):
    """Not in the journal, the report, the summary or the history."""
    pipeline = nightly(people("a"), f'webhook = "{hook.url}"\non = ["success"]')
    backfill("run", pipeline, "--url", sandbox.url)
    kept = [each for each in (tmp_path / ".backfill").rglob("*") if each.is_file()]
    assert kept
    assert not [each for each in kept if b"/T0/secret" in each.read_bytes()]


def test_an_unreachable_service_is_a_failure(nightly, backfill, hook):
    """75 means that the night is not done."""
    pipeline = nightly(people("a"), url=f"http://127.0.0.1:{free_port()}")
    done = backfill("sync", pipeline, "--for", "2s", env={"HOOK": hook.url})
    assert done.code == 75
    (message,) = hook.heard()
    assert "the service is unavailable" in message["text"]
