"""Files for schedulers say what was asked, however odd the paths."""

import datetime as dt
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import UsageError
from backfill.pipeline.file import Pipeline
from backfill.schedule import FORMS, Nightly, files, nightly_of, unit_files
from backfill.schedule.nightly import odd_night

NIGHTLY = Nightly(
    name="acme",
    pipeline_file=Path("/srv/acme/acme.toml"),
    state_dir=Path("/srv/acme/.backfill"),
    hour=2,
    minute=5,
    timezone="Europe/Berlin",
    program=("/opt/backfill/bin/backfill",),
    user="acme",
    image="backfill:1",
)
printable = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "))
ODD = '/srv/it\'s 100% "ours" $HOME \\n'


def berlin(month: int, day: int, hour: int) -> dt.date | None:
    """The next odd night of a time in Berlin, from a day in 2026 on."""
    return odd_night(hour, 30, ZoneInfo("Europe/Berlin"), dt.date(2026, month, day))


def test_the_next_odd_night_is_the_next_change_of_clocks():
    """On 2026-03-29 they skip the hour after two, on 2026-10-25 they show it twice."""
    assert berlin(1, 1, 2) == dt.date(2026, 3, 29)
    assert berlin(3, 29, 2) == dt.date(2026, 3, 29)
    assert berlin(3, 30, 2) == dt.date(2026, 10, 25)
    assert berlin(1, 1, 4) is None
    assert odd_night(2, 30, ZoneInfo("UTC"), dt.date(2026, 1, 1)) is None


@given(st.lists(printable, min_size=1))
def test_cron_gives_the_shell_the_words_that_were_meant(words):
    r"""Cron takes the backslash off `\%`; a bare % would be the end of the line."""
    line = unit_files.cron(words)
    assert "%" not in line.replace(r"\%", "")
    assert shlex.split(line.replace(r"\%", "%")) == words


@given(st.lists(printable.map(lambda text: f"/{text}"), min_size=1))
def test_systemd_reads_the_words_that_were_meant(words):
    """Quotes and backslashes as C has them, then specifiers, then variables but in the first."""
    read = shlex.split(unit_files.systemd(words))  # alike for double quotes and backslashes
    assert "%" not in "".join(read).replace("%%", "")
    program, *arguments = [each.replace("%%", "%") for each in read]
    started = [program, *(each.replace("$$", "$") for each in arguments)]
    assert started == [*(["/usr/bin/env"] if set(words[0]) & set("\"'\\") else []), *words]


@given(printable)
def test_yaml_reads_the_text_that_was_meant(text):
    """Also where it looks like a number, a boolean or a comment."""
    assert yaml.safe_load(f"key: {unit_files.yaml(text)}") == {"key": text}


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", fullmatch=True))
def test_every_job_has_a_name_in_kubernetes(name):
    """At most 52 characters for a CronJob; the template adds nine before it."""
    label = unit_files.label(name)
    assert label
    assert len(label) <= 40
    assert label.strip("-") == label
    assert set(label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("form", FORMS)
def test_no_line_is_left_that_a_template_made_for_nothing(form):
    """Without a zone, a webhook or an odd night there is no word of them."""
    plain = "".join(files(replace(NIGHTLY, timezone=None), form).values())
    assert "CRON_TZ" not in plain
    assert "timeZone" not in plain
    assert "clocks" not in plain
    assert "HOOK" not in plain
    told = replace(NIGHTLY, secrets=("HOOK", "DSN"), odd_night=dt.date(2026, 3, 29))
    rich = "".join(files(told, form).values())
    assert "On 2026-03-29 clocks" in rich
    assert "HOOK" in rich


def test_a_line_that_cron_would_cut_is_refused():
    """It would start something else, or nothing."""
    far = replace(NIGHTLY, pipeline_file=Path("/" + "d/" * 400 + "p.toml"))
    with pytest.raises(UsageError, match="crontab line"):
        files(far, "cron")
    assert files(far, "systemd")


def test_kubernetes_gets_what_its_schema_asks_for():
    """The fields of batch/v1 CronJob that matter here, by hand."""
    text = files(replace(NIGHTLY, name="Acme_2024", secrets=("HOOK", "DSN")), "kubernetes")
    secret, claim, cron_job = yaml.safe_load_all(text["backfill-Acme_2024.yaml"])
    name = "backfill-acme-2024"
    assert {each["metadata"]["name"] for each in (secret, claim, cron_job)} == {name}
    credentials = {"CUSTOMERIO_SITE_ID", "CUSTOMERIO_API_KEY"}
    assert set(secret["stringData"]) == credentials | {"HOOK", "DSN"}
    assert (claim["kind"], claim["spec"]["accessModes"]) == (
        "PersistentVolumeClaim",
        ["ReadWriteOnce"],
    )
    assert (cron_job["apiVersion"], cron_job["kind"]) == ("batch/v1", "CronJob")
    spec = cron_job["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("5 2 * * *", "Europe/Berlin")
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert {3, 75}.isdisjoint(rule["onExitCodes"]["values"])
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # what a podFailurePolicy needs
    (container,) = pod["containers"]
    assert container["name"] == rule["onExitCodes"]["containerName"]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    assert "backfill sync /data/acme.toml --state-dir /data/.backfill --json &" in script
    assert container["envFrom"] == [{"secretRef": {"name": name}}]
    mounted = {each["name"] for each in container["volumeMounts"]}
    assert mounted == {each["name"] for each in pod["volumes"]}
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == name


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (3, 0), (75, 75), (7, 7)])
def test_rows_that_were_rejected_are_no_failed_job(tmp_path, code, seen):
    """A Job knows only success and failure: what its shell makes of an exit code."""
    odd = replace(NIGHTLY, pipeline_file=Path(f"/srv/{ODD.replace('/', '')}.toml"))
    *_, cron_job = yaml.safe_load_all(files(odd, "kubernetes")["backfill-acme.yaml"])
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (script,) = container["args"]
    program = tmp_path / "backfill"
    program.write_text(f'#!/bin/sh\nprintf "%s" "$2" > {tmp_path}/asked\nexit {code}\n')
    program.chmod(0o700)
    script = script.replace("/dev/termination-log", f"{tmp_path}/message")
    path = f"{tmp_path}:/usr/bin:/bin"
    ended = subprocess.run(["sh", "-c", script], env={"PATH": path}, check=False, timeout=60)
    assert ended.returncode == seen
    assert (tmp_path / "asked").read_text() == f"/data/{odd.pipeline_file.name}"
    assert (tmp_path / "message").exists() == (code == 3)


def test_a_pod_whose_files_and_state_are_elsewhere_claims_no_volume(pipeline):
    """Its pipeline file is in a ConfigMap; a file of this machine needs the volume."""
    bucket = pipeline.model_copy(update={"state": "s3://acme/jobs"})
    local = bucket.sources[0].model_copy(update={"files": ("a.csv",), "query": None})
    claims = [
        "PersistentVolumeClaim" in files(nightly(each), "kubernetes")["backfill-acme.yaml"]
        for each in (bucket, pipeline, bucket.model_copy(update={"sources": (local,)}))
    ]
    assert claims == [False, True, True]
    (text,) = files(nightly(bucket), "kubernetes").values()
    *_, cron_job = yaml.safe_load_all(text)
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["volumes"][0]["configMap"]["name"] == "backfill-acme"
    assert "sync /data/pipeline.toml --json --wait 15m &" in pod["containers"][0]["args"][0]
    assert "kubectl create configmap backfill-acme" in text


@pytest.fixture
def pipeline(tmp_path):
    """A pipeline in a folder with an odd name."""
    folder = tmp_path / ODD.strip("/").replace("/", "-")
    folder.mkdir()
    path = folder / "p.toml"
    path.write_text(
        'name = "acme"\n[notify]\nwebhook_env = "HOOK"\n[[source]]\nkind = "customers"\n'
        'identifier = { id = "id" }\n[source.query]\nsql = "SELECT 1"\ndsn_env = "WAREHOUSE_DSN"\n'
    )
    return Pipeline.load(path)


def nightly(pipeline, **more) -> Nightly:
    """The nightly sync of a pipeline, with what the command line adds."""
    usual = {
        "timezone": None,
        "state_dir": None,
        "program": ("/bin/backfill",),
        "user": "acme",
        "image": "backfill:1",
        "today": dt.date(2026, 1, 1),
    }
    return nightly_of(pipeline, "02:30", **{**usual, **more})


def test_a_nightly_sync_has_absolute_paths(pipeline, monkeypatch):
    """A scheduler starts it in another folder."""
    found = nightly(pipeline)
    assert found.command() == [
        *("/bin/backfill", "sync", str(pipeline.path)),
        *("--state-dir", str(pipeline.folder / ".backfill"), "--json"),
    ]
    assert (found.hour, found.minute, found.secrets) == (2, 30, ("HOOK", "WAREHOUSE_DSN"))
    monkeypatch.chdir(pipeline.folder)
    assert nightly(pipeline, state_dir=Path("here")).state_dir == pipeline.folder / "here"


@pytest.mark.parametrize("form", ["cron", "systemd", "kubernetes"])
def test_a_state_in_a_bucket_needs_no_folder(pipeline, form):
    """The pipeline file says where it is, or the option does: no path of this machine is made."""
    said = pipeline.model_copy(update={"state": "s3://acme/jobs"})
    by_file = "\n".join(files(nightly(said), form).values())
    assert "--state-dir" not in by_file
    assert "ReadWritePaths" not in by_file
    assert "/.backfill" not in by_file

    by_option = "\n".join(files(nightly(pipeline, state_dir="s3://acme/jobs/"), form).values())
    assert "s3://acme/jobs" in by_option
    assert "ReadWritePaths" not in by_option


def test_stdin_cannot_be_scheduled(pipeline):
    """Nothing pipes into a job that starts by itself."""
    source = pipeline.sources[0].model_copy(update={"files": ("-",), "query": None})
    with pytest.raises(UsageError, match="piped"):
        nightly(pipeline.model_copy(update={"sources": (source,)}))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc/passwd", "", "UTC\nX=1", "/etc/passwd"])
def test_a_zone_that_is_none_is_refused(pipeline, zone):
    """It would stand in a file that root installs."""
    with pytest.raises(UsageError, match="no such time zone"):
        nightly(pipeline, timezone=zone)


def test_a_path_with_a_line_end_is_refused(pipeline):
    """A second line would be an entry of its own."""
    with pytest.raises(UsageError, match="control characters"):
        nightly(pipeline, state_dir=Path("/srv/a\n* * * * * rm"))
