"""The key to a workspace: from the environment or a private file, never from the command line."""

import os
import stat
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from backfill.delivery.destination import is_loopback
from backfill.errors import CredentialsError
from backfill.files import parse_toml

SITE_ID, API_KEY = "CUSTOMERIO_SITE_ID", "CUSTOMERIO_API_KEY"
APP_API_KEY = "CUSTOMERIO_APP_API_KEY"
SYSTEMD_DIRECTORY, SYSTEMD_FILE = "CREDENTIALS_DIRECTORY", "customerio.toml"
"""Where systemd puts what a unit loads with `LoadCredential=customerio.toml:…`."""

_SECRET_BYTES_MIN = 8
"""A shorter key is a word, such as the sandbox's; real keys have 20 characters."""


def _check(name: str, value: str) -> None:
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise CredentialsError(
            f"the {name} is empty or has invalid characters",
            next_step="copy it again from the workspace's settings",
        )


def _hidden(body: bytes, *secrets: str) -> bytes:
    with suppress(orjson.JSONDecodeError):  # JSON can write each character in several ways
        body = orjson.dumps(orjson.loads(body))
    for secret in (orjson.dumps(each)[1:-1] for each in secrets):
        if len(secret) >= _SECRET_BYTES_MIN:
            body = body.replace(secret, b"[hidden]")
    return body


class Key(Protocol):
    """Opens an API, and is hidden in what that says."""

    def authorization(self) -> str:
        """The value of the `Authorization` header."""

    def hidden_in(self, body: bytes) -> bytes:
        """A text of the service without the key that it may repeat."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A site id and its API key. Neither is shown by `repr`.

    Raises:
        CredentialsError: One is empty or holds what an HTTP header cannot carry.
    """

    site_id: str = field(repr=False)
    api_key: str = field(repr=False)

    def __post_init__(self) -> None:
        for name, value in (("site id", self.site_id), ("API key", self.api_key)):
            _check(name, value)
        if ":" in self.site_id:
            raise CredentialsError(
                "the site id contains a colon, which HTTP Basic authentication does not allow",
                next_step="copy it again from the workspace's settings",
            )

    def authorization(self) -> str:
        """The value of the `Authorization` header."""
        return "Basic " + self._token()

    def hidden_in(self, body: bytes) -> bytes:
        """A text of the service, JSON or not, without the key that it may repeat.

        What a refusal says is kept on disk and shown.
        """
        return _hidden(body, self._token().rstrip("="), self.api_key)

    def _token(self) -> str:
        return b64encode(f"{self.site_id}:{self.api_key}".encode()).decode()


SANDBOX = Credentials("sandbox", "sandbox")


@dataclass(frozen=True, slots=True)
class AppKey:
    """A key of the App API, which reads a workspace. It is not shown by `repr`.

    Raises:
        CredentialsError: It is empty or holds what an HTTP header cannot carry.
    """

    key: str = field(repr=False)

    def __post_init__(self) -> None:
        _check("App API key", self.key)

    def authorization(self) -> str:
        """The value of the `Authorization` header."""
        return f"Bearer {self.key}"

    def hidden_in(self, body: bytes) -> bytes:
        """A text of the service, JSON or not, without the key that it may repeat."""
        return _hidden(body, self.key)


SANDBOX_APP = AppKey("sandbox")


def find_credentials(env: Mapping[str, str], file: Path | None, url: str) -> Credentials:
    """The credentials to use toward `url`.

    The environment wins over what systemd hands over, and that over the file; toward this machine,
    `sandbox` will do.

    Raises:
        CredentialsError: There are none, half of them, or the file is not private or not right.
    """
    site_id, api_key = env.get(SITE_ID, ""), env.get(API_KEY, "")
    if site_id and api_key:
        return Credentials(site_id, api_key)
    if site_id or api_key:
        missing = API_KEY if site_id else SITE_ID
        raise CredentialsError(f"{missing} is not set", next_step=f"set {missing} as well")
    if found := _from_files(env, file):
        path, table = found
        both = table.get("site_id"), table.get("api_key")
        if not isinstance(both[0], str) or not isinstance(both[1], str):
            raise _not_right(path)
        return Credentials(both[0], both[1])
    if is_loopback(url):
        return SANDBOX
    raise CredentialsError(
        "no credentials are set",
        next_step=f"set {SITE_ID} and {API_KEY}, or `credentials` in [destination]",
    )


def find_app_key(env: Mapping[str, str], file: Path | None, url: str) -> AppKey:
    """The key of the App API to use toward `url`; looked for where the credentials are.

    Raises:
        CredentialsError: There is none, or the file is not private or not right.
    """
    if given := env.get(APP_API_KEY):
        return AppKey(given)
    if found := _from_files(env, file):
        key = found[1].get("app_api_key", "")
        if key and isinstance(key, str):
            return AppKey(key)
    if is_loopback(url):
        return SANDBOX_APP
    raise CredentialsError(
        "no key of the App API is set: it is another one than the Track API's",
        next_step=f"set {APP_API_KEY}, or app_api_key in the file that `credentials` names (in"
        " Customer.io: Settings, Account Settings, API Credentials, App API Keys)",
    )


def _from_files(env: Mapping[str, str], file: Path | None) -> tuple[Path, dict[str, Any]] | None:
    """The file that holds credentials, and its table; None: there is none."""
    handed_over = Path(env.get(SYSTEMD_DIRECTORY, "")) / SYSTEMD_FILE
    if env.get(SYSTEMD_DIRECTORY) and handed_over.exists():
        # It is the unit's alone, though the access list that says so shows as the group's right.
        return handed_over, _read(handed_over, open_to=0o070)
    return None if file is None else (file, _read(file))


def _read(file: Path, *, open_to: int = 0) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if mode & 0o077 & ~open_to:
                raise CredentialsError(
                    f"{file} can be read by others (mode {mode:04o})",
                    next_step=f"run: chmod 600 {file}",
                )
            return parse_toml(opened.read())
    except OSError as error:
        raise CredentialsError(
            f"{file} cannot be read: {error.strerror}", next_step="check `credentials`"
        ) from error
    except ValueError:
        # The parser's message may quote the key.
        raise _not_right(file) from None


def _not_right(file: Path) -> CredentialsError:
    return CredentialsError(
        f"{file} does not hold credentials", next_step='write site_id = "…" and api_key = "…"'
    )
