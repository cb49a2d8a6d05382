"""What a newcomer types: help, mistakes, and what the program says to them."""

import pytest

COMMANDS = (
    *("demo", "init", "check", "plan", "run", "retry", "sync", "verify"),
    *("schedule", "status", "report", "sandbox"),
)
SENDING = (
    "--state-dir",
    "--url",
    "--rate",
    "--concurrency",
    "--limit",
    "--for",
    "--until",
    "--restart",
    "--append",
    "--accept-changes",
    "--canary",
    "--workers",
    "--cluster",
    "--scratch",
    "--json",
    "--quiet",
    "--yes",
    "--debug",
)


def test_help_names_every_command(backfill):
    """The first screen says what there is."""
    ended = backfill("--help")

    assert ended.code == 0
    assert all(f"\n  {each} " in ended.stdout for each in COMMANDS)
    assert "..." not in ended.stdout.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(backfill, command):
    """A sentence, and every option with one; no name of the program's insides."""
    ended = backfill(command, "--help")

    assert ended.code == 0
    assert f"Usage: backfill {command}" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "asked" not in ended.stdout
    assert "  --debug " in ended.stdout  # what a bug of ours advises


@pytest.mark.parametrize("command", ["run", "retry"])
def test_sending_commands_take_the_same_options(backfill, command):
    """What one can be asked, the other can."""
    text = backfill(command, "--help").stdout

    assert all(f"  {option} " in text for option in SENDING)


def test_the_version_is_told(backfill):
    """The name and the number, nothing else."""
    ended = backfill("--version")

    assert ended.code == 0
    assert ended.stdout.startswith("backfill 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rnu",), "Did you mean 'run'"),
        (("run",), "missing argument 'PIPELINE'"),
        (("run", "x.toml", "--rat", "3"), "--rate"),
        (("run", "x.toml", "--rate", "many"), "--rate: must be a number"),
        (("run", "x.toml", "--limit", "few"), "--limit: must be a whole number"),
        (("run", "x.toml", "surplus"), "too many arguments: surplus"),
        (("report", "x.toml", "--redact", "some"), "'values', 'none', not 'some'"),
        (("report", "x.toml", "--undo", "--bundle"), "--undo and --bundle"),
        (("run", "x.toml", "--rate", "-1"), "--rate: must be at least 0"),
        (("run", "x.toml", "--limit", "0"), "--limit: must be at least 1"),
        (("run", "x.toml", "--for", "soon"), "write it as 90s, 15m, 2h or 1h30m"),
        (("run", "x.toml", "--until", "25:00"), "write it as HH:MM"),
        (("run", "x.toml"), "x.toml: no such pipeline file"),
        (("check", "x.toml", "--yes"), "--yes"),
        (("status", "--state-dir", "nowhere", "surplus.toml"), "surplus.toml"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_a_mistake_is_one_sentence(backfill, arguments, said, as_json):
    """What is wrong, then where to look; the summary is there when it was asked for."""
    ended = backfill(*arguments, *(["--json"] if as_json else []))

    assert ended.code == 2
    error, _ = ended.stderr.splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert ended.next_step
    if as_json:
        assert ended.summary["exit"] == 2
        assert ended.summary["rows_read"] == 0
    else:
        assert ended.stdout == ""


def test_a_port_that_does_not_exist_is_a_mistake(backfill):
    """The system would take none beyond 65535."""
    ended = backfill("sandbox", "--port", "80000")

    assert (ended.code, ended.stderr.splitlines()[0]) == (2, "error: port 80000 does not exist")
    assert ended.next_step == "choose one from 0 to 65535"


def test_a_misspelt_pipeline_file_is_guessed(backfill, tmp_path):
    """The nearest file in its folder is named."""
    (tmp_path / "acme.toml").write_text('name = "acme"\n')

    assert "acme.toml" in backfill("check", "acmee.toml").next_step


def test_no_arguments_show_the_help(backfill):
    """Whoever types the bare name learns what to type next."""
    ended = backfill()

    assert "Commands:" in ended.stdout + ended.stderr
