"""What `backfill schedule` prints is taken by the tools that it is for, and starts a sync."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from croniter import croniter

from backfill.schedule import Nightly, files
from tests.support.accounts import accounted
from tests.support.jobs import CUSTOMERS, job, people

KUBERNETES = ("1.29", kubernetes_validate.latest_version())
"""The latest, and the first whose schema does not ask for `onPodConditions` in every rule."""

SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
_ENVIRONMENT = re.compile(r"[A-Z_]+=\S*")
_NUMBER = r"(?:\*|\d{1,2})"
_ENTRY = re.compile(rf"({_NUMBER}) ({_NUMBER}) ({_NUMBER}) ({_NUMBER}) ({_NUMBER}) (\S.*)")


def crontab_entry(text: str) -> tuple[list[str], str]:
    """The only entry of a crontab: its five fields, and what `sh` is given."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    *environment, entry = lines
    assert all(map(_ENVIRONMENT.fullmatch, environment))
    *fields, command = _ENTRY.fullmatch(entry).groups()
    assert re.search(r"(?<!\\)%", command) is None, "cron would cut the command here"
    return fields, command.replace(r"\%", "%")


@pytest.fixture
def odd(tmp_path):
    """A folder whose name means something to every scheduler."""
    folder = tmp_path / 'it\'s 100% "ours" $HOME'
    folder.mkdir()
    return folder


def test_the_crontab_line_syncs_and_logs(odd, backfill, sandbox):
    """Started as cron does: by sh, from another folder, with next to no environment."""
    pipeline = job(
        odd, {"customers.csv": people("a", "b")}, f'[destination]\nurl = "{sandbox.url}"', CUSTOMERS
    )
    printed = backfill("schedule", pipeline, "--at", "4:07", "--timezone", "Europe/Berlin")
    assert printed.code == 0
    assert printed.next_step
    fields, command = crontab_entry(printed.stdout)
    times = croniter(" ".join(fields), datetime(2026, 2, 28, 12))  # noqa: DTZ001  # as clocks show
    assert [times.get_next(datetime).isoformat() for _ in range(2)] == [
        "2026-03-01T04:07:00",
        "2026-03-02T04:07:00",
    ]
    assert "\nCRON_TZ=Europe/Berlin\n" in printed.stdout

    with accounted(sandbox, odd):
        subprocess.run(
            ["/bin/sh", "-c", command], cwd="/", env={"HOME": "/"}, check=True, timeout=60
        )

    assert set(sandbox.people()) == {"a", "b"}
    log = (odd / "job.log").read_text().splitlines()
    (summary,) = [json.loads(line) for line in log if line.startswith("{")]
    assert summary["delivered"] == 2
    assert (odd / "job.log").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("secrets", [(), ("HOOK", "DSN")])
def test_systemd_takes_the_units(tmp_path, odd, secrets):
    """`systemd-analyze verify` finds nothing to complain of, whatever the paths."""
    program = odd.with_name('it\'s 100% "ours"') / "backfill"
    program.parent.mkdir()
    program.symlink_to("/bin/true")
    nightly = Nightly(
        name="acme",
        pipeline_file=odd / "p.toml",
        state_dir=odd / ".backfill",
        hour=2,
        minute=5,
        timezone="Europe/Berlin",
        program=(str(program),),
        user="root",
        image="backfill:1",
        secrets=secrets,
    )
    assert _complaints(tmp_path / "odd", nightly) == ""
    assert "Unknown" in _complaints(
        tmp_path / "wrong", replace(nightly, user="root\nNonsense=yes")
    ), "the tool must be able to complain"


def _complaints(folder: Path, nightly: Nightly) -> str:
    folder.mkdir()
    units = files(nightly, "systemd")
    for name, text in units.items():
        (folder / name).write_text(text)
    said = subprocess.run(
        [SYSTEMD_ANALYZE, "verify", *(folder / name for name in units)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Of other units of the machine we know nothing.
    mine = [line for line in said.stderr.splitlines() if "backfill" in line]
    return "\n".join(mine)


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_reads_the_time_as_it_was_meant(tmp_path, backfill):
    """Its own calculator gives the next elapse in the zone."""
    pipeline = job(tmp_path, {}, CUSTOMERS)
    printed = backfill(
        "schedule", pipeline, "--at", "2:30", "--timezone", "Europe/Berlin", "--format", "systemd"
    )
    (calendar,) = re.findall(r"^OnCalendar=(.*)$", printed.stdout, re.MULTILINE)
    said = subprocess.run(
        [SYSTEMD_ANALYZE, "calendar", calendar],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "Normalized form: *-*-* 02:30:00 Europe/Berlin" in said.stdout


def test_kubernetes_manifests_fit_the_published_schemas(tmp_path, backfill):
    """A Secret, a claim and the CronJob, each without a field that Kubernetes does not know."""
    pipeline = job(tmp_path, {}, CUSTOMERS)
    printed = backfill("schedule", pipeline, "--format", "kubernetes", "--image", "r.example/b:2")
    documents = list(yaml.safe_load_all(printed.stdout))
    assert [each["kind"] for each in documents] == ["Secret", "PersistentVolumeClaim", "CronJob"]
    for version in KUBERNETES:
        for each in documents:
            kubernetes_validate.validate(each, version, strict=True)
    pod = documents[-1]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "r.example/b:2"
    pod["restart"] = pod.pop("restartPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):  # the tool must be able to complain
        kubernetes_validate.validate(documents[-1], KUBERNETES[-1], strict=True)


def test_files_are_written_and_never_overwritten(tmp_path, backfill):
    """`--output` names what it wrote; a second time it refuses."""
    pipeline = job(tmp_path, {}, CUSTOMERS)
    options = ("schedule", pipeline, "--format", "systemd", "--output", tmp_path)
    done = backfill(*options)
    assert done.stdout.splitlines() == ["backfill-job.service", "backfill-job.timer"]
    assert all((tmp_path / name).exists() for name in done.stdout.splitlines())
    again = backfill(*options)
    assert again.code == 2
    assert "never overwritten" in again.stderr


def test_json_gives_the_files_by_name(tmp_path, backfill):
    """For whoever installs them with a program."""
    done = backfill("schedule", job(tmp_path, {}, CUSTOMERS), "--format", "systemd", "--json")
    assert set(done.summary["files"]) == {"backfill-job.service", "backfill-job.timer"}


@pytest.mark.parametrize(
    "options", [("--at", "25:00"), ("--timezone", "Mars/Olympus"), ("--format", "at")]
)
def test_what_makes_no_schedule_is_refused(tmp_path, backfill, options):
    """Exit 2, and nothing is printed that could be installed."""
    done = backfill("schedule", job(tmp_path, {}, CUSTOMERS), *options)
    assert (done.code, done.stdout) == (2, "")
