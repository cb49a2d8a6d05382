"""What runs the examples: an orchestrator in its environment, and a small Kubernetes."""

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.orchestrators.playing import RETRIES
from tests.orchestrators.shops import (
    EXAMPLES,
    PROGRAM,
    ROOT,
    Shop,
    clean_environment,
    manifests,
)

SCRIPTS = Path(__file__).parent
PATIENCE_S = 120


@dataclass(frozen=True, slots=True)
class Result:
    """What an orchestrator made of a job.

    Args:
        succeeded: Whether it shows as a success.
        starts: How often the program was started.
        was_warned: Whether a success says that rows were rejected.
        message: What it says of a failure.
        delivered: How many rows of the job were delivered, as the orchestrator keeps it.
        log: What it logged.
    """

    succeeded: bool
    starts: int
    was_warned: bool
    message: str
    delivered: int | None
    log: str = field(repr=False)


class Player:
    """An orchestrator in its environment; it stays, since each takes seconds to start.

    Args:
        name: Which.
        folder: Where it keeps its database and its log.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.signal = signal.SIGINT if name == "dagster" else signal.SIGTERM
        self._log = folder / "log"
        self._bin = ROOT / ".orchestrators" / name / "bin"
        env = _environment(name, folder, self._bin)
        if name == "airflow":
            command = [self._bin / "airflow", "db", "migrate"]
            subprocess.run(command, env=env, check=True, capture_output=True)
        with self._log.open("w") as log:
            self.child = subprocess.Popen(
                [self._bin / "python", SCRIPTS / f"play_{name}.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=env,
                start_new_session=True,
            )

    def begin(self, shop: Shop, command: str, *more: str) -> None:
        """Let it run a command of the program, and go on."""
        self.child.stdin.write(json.dumps([command, str(shop.pipeline), *more]) + "\n")
        self.child.stdin.flush()

    def run(self, shop: Shop, command: str, *more: str) -> Result:
        """Let it run a command of the program, to the end of its retries."""
        before = self._log.stat().st_size
        self.begin(shop, command, *more)
        answer = self.child.stdout.readline()
        log = self._log.read_bytes()[before:].decode()
        assert answer, log
        was_warned = "[warning  ] rejected rows: 1; next: " in log  # Airflow has nothing but this
        return Result(**{"was_warned": was_warned, **json.loads(answer)}, log=log)

    def stop(self) -> None:
        """Stop the task as the orchestrator does; it may stop with it."""
        self.child.send_signal(self.signal)


@contextmanager
def playing(name: str, folder: Path) -> Iterator[Player]:
    """An orchestrator, until it is not needed any more."""
    player = Player(name, folder)
    with player.child as child:
        yield player
        with suppress(BrokenPipeError):
            child.stdin.close()
        child.wait(PATIENCE_S)
        with suppress(ProcessLookupError):  # Prefect, when it is stopped, leaves its server behind
            os.killpg(child.pid, signal.SIGKILL)


def _environment(name: str, folder: Path, programs: Path) -> dict[str, str]:
    """What an orchestrator's process knows: the program is on its PATH, no package of it."""
    known = {
        **clean_environment(folder, programs, PROGRAM.parent),
        "PYTHONPATH": str(EXAMPLES),
        "PYTHONDONTWRITEBYTECODE": "1",
        "DO_NOT_TRACK": "1",
    }
    of_each = {
        "airflow": {
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        },
        "dagster": {"DAGSTER_DISABLE_TELEMETRY": "yes"},
        "prefect": {
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(PATIENCE_S),
        },
    }
    return known | of_each[name]


class Cluster:
    """Runs the container's command of the CronJob as the Job's controller does, without a cluster.

    Each pod is a process with an empty disk. What follows from its exit code stands in the
    manifest: the rules of `podFailurePolicy`, then how often it may fail; pauses are left out.
    """

    def __init__(self) -> None:
        (cron,) = [each for each in manifests() if each["kind"] == "CronJob"]
        self._job = cron["spec"]["jobTemplate"]["spec"]
        (self._container,) = self._job["template"]["spec"]["containers"]
        self._pod: subprocess.Popen[str] | None = None
        self.signal = signal.SIGTERM

    def run(self, shop: Shop, command: str, *more: str) -> Result:
        """Start pods until one succeeds, or the job has failed."""
        shop.bring()
        starts, failures, log, message = 0, 0, "", ""
        while failures <= min(RETRIES, self._job["backoffLimit"]):
            code, said, message = self._run_pod(shop, command, more)
            log += said
            starts += 1
            if code == 0 or self._is_final(code):
                break
            failures += 1
        was_warned = code == 0 and bool(message)
        return Result(code == 0, starts, was_warned, message, None, log)

    def begin(self, shop: Shop, command: str, *more: str) -> None:
        """Let it run, and go on."""
        threading.Thread(target=self.run, args=(shop, command, *more)).start()

    def _run_pod(self, shop: Shop, command: str, more: Sequence[str]) -> tuple[int, str, str]:
        """One pod: its exit code, its log, and the message that `kubectl describe` shows."""
        with tempfile.TemporaryDirectory() as disk:
            told = Path(disk) / "termination-log"
            *start, script = [*self._container["command"], *self._container["args"]]
            for old, new in {
                "backfill sync ": f"backfill {command} ",
                "/etc/backfill/pipeline.toml": str(shop.pipeline),
                " --wait 15m": "".join(f" {each}" for each in more or ("--wait", "15m")),
                "/dev/termination-log": str(told),
            }.items():
                assert old in script
                script = script.replace(old, new)
            self._pod = subprocess.Popen(
                [*start, script],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**shop.environment(), "HOME": disk, "TMPDIR": disk},
                cwd=disk,
            )
            log, _ = self._pod.communicate(timeout=PATIENCE_S)
            code = self._pod.returncode
            message = told.read_text("utf-8") if told.exists() else ""
            return code, log, message or (f"exit {code}; {log[-2048:]}" if code else "")

    def _is_final(self, code: int) -> bool:
        """Whether the job fails at once."""
        for rule in self._job["podFailurePolicy"]["rules"]:
            if code in rule.get("onExitCodes", {"values": []})["values"]:
                return rule["action"] == "FailJob"
        return False

    def stop(self) -> None:
        """Drain the node: SIGTERM to the container's first process, which is the shell."""
        self._pod.send_signal(self.signal)
