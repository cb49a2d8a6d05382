"""The key to a workspace: where it comes from, and that it is never shown."""

from base64 import b64decode
from pathlib import Path

import pytest

from backfill.delivery.credentials import SANDBOX, Credentials, find_app_key, find_credentials
from backfill.errors import CredentialsError

REMOTE, LOCAL = "https://track.customer.io", "http://127.0.0.1:8025"
ENV = {"CUSTOMERIO_SITE_ID": "site", "CUSTOMERIO_API_KEY": "canary"}


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    """A credentials file."""
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_environment_wins(tmp_path):
    """Credentials of the environment are taken before those of a file."""
    file = written(tmp_path / "c.toml", 'site_id = "other"\napi_key = "other"')

    assert find_credentials(ENV, file, REMOTE) == Credentials("site", "canary")
    assert find_credentials({}, file, REMOTE) == Credentials("other", "other")


def test_loopback_needs_none():
    """Toward this machine the sandbox's credentials will do; toward others nothing will."""
    assert find_credentials({}, None, LOCAL) == SANDBOX
    with pytest.raises(CredentialsError, match="no credentials"):
        find_credentials({}, None, REMOTE)


@pytest.mark.parametrize("name", list(ENV))
def test_half_of_them(name):
    """One variable without the other is a mistake, named."""
    with pytest.raises(CredentialsError, match=name):
        find_credentials({k: v for k, v in ENV.items() if k != name}, None, LOCAL)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o777])
def test_a_file_that_others_can_read(tmp_path, mode):
    """A file that others can read is refused, with the command that fixes it."""
    file = written(tmp_path / "c.toml", 'site_id = "s"\napi_key = "k"', mode)

    with pytest.raises(CredentialsError) as caught:
        find_credentials({}, file, REMOTE)
    assert caught.value.next_step == f"run: chmod 600 {file}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        'site_id = "s"',
        'site_id = "s"\napi_key = 5',
        'api_key = "canary',
        'api_key = canary"',
        'site_id = "s"\napi_key = "can\\nary"',
        'site_id = "s"\napi_key = ""',
        'site_id = "s"\napi_key = "canary "',
        'site_id = "a:b"\napi_key = "canary"',
        'site_id = "s"\napi_key = "canarÿ"',
    ],
)
def test_a_file_that_is_not_right(tmp_path, text):
    """A file without two usable texts is refused, and the error does not quote it."""
    file = written(tmp_path / "c.toml", text)

    with pytest.raises(CredentialsError) as caught:
        find_credentials({}, file, REMOTE)
    assert "canar" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_file_that_is_not_there(tmp_path):
    """A missing file is named."""
    with pytest.raises(CredentialsError, match=r"gone\.toml"):
        find_credentials({}, tmp_path / "gone.toml", REMOTE)


def test_nothing_shows_the_key():
    """Neither a log line nor a traceback that formats the object holds the key."""
    credentials = Credentials("site", "canary")

    assert "canary" not in f"{credentials!r} {credentials}"
    assert "site" not in repr(credentials)


def test_basic():
    """The header is `site_id:api_key` in base64."""
    header = Credentials("site", "canary").authorization()

    assert b64decode(header.removeprefix("Basic ")) == b"site:canary"


def test_the_key_of_the_app_api_is_found_where_the_credentials_are(tmp_path):
    """The environment, the file, the sandbox's own; it is not the Track API's, and never shown."""
    url, file = "https://track.customer.io", tmp_path / "customerio.toml"
    file.write_text('site_id = "s"\napi_key = "k"\napp_api_key = "of-the-file"\n')
    file.chmod(0o600)
    set_ = {"CUSTOMERIO_APP_API_KEY": "of-the-environment", "CUSTOMERIO_API_KEY": "k"}

    assert find_app_key(set_, file, url).authorization() == "Bearer of-the-environment"
    assert find_app_key({}, file, url).authorization() == "Bearer of-the-file"
    assert find_app_key({}, None, "http://127.0.0.1:1").authorization() == "Bearer sandbox"
    key = find_app_key({}, file, url)
    assert "of-the-file" not in f"{key!r} {key}"
    assert key.hidden_in(b'{"said":"of-the-file"}') == b'{"said":"[hidden]"}'
    file.write_text('site_id = "s"\napi_key = "k"\n')
    with pytest.raises(CredentialsError, match="App API") as error:
        find_app_key({"CUSTOMERIO_API_KEY": "k"}, file, url)
    assert "CUSTOMERIO_APP_API_KEY" in error.value.next_step


def test_what_systemd_hands_over_wins_over_the_file(tmp_path):
    """`LoadCredential=` shows as the group's to read, and is the unit's alone all the same."""
    handed_over = tmp_path / "customerio.toml"
    handed_over.write_text('site_id = "unit"\napi_key = "key"\n')
    handed_over.chmod(0o440)
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = find_credentials(env, tmp_path / "other.toml", "https://track.customer.io")
    assert found.site_id == "unit"
    env |= {"CUSTOMERIO_SITE_ID": "env", "CUSTOMERIO_API_KEY": "key"}
    assert find_credentials(env, None, "https://track.customer.io").site_id == "env"


def test_a_unit_without_credentials_goes_on_to_the_file(tmp_path):
    """Systemd's directory may hold those of something else."""
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_credentials(env, None, "http://127.0.0.1:8025").site_id == "sandbox"


def test_what_systemd_hands_over_is_not_everybodys(tmp_path):
    """Others may not read it either."""
    handed_over = tmp_path / "customerio.toml"
    handed_over.write_text('site_id = "unit"\napi_key = "key"\n')
    handed_over.chmod(0o444)
    with pytest.raises(CredentialsError, match="read by others"):
        find_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)}, None, "https://x.example")
