"""Words as each scheduler reads them: spaces, quotes, `%` and `$` mean something else to each."""

import json
import re
import shlex
from collections.abc import Sequence

LABEL_CHARACTERS_MAX = 40
"""Kubernetes allows 52 for a CronJob; its jobs and pods add their own endings."""


def cron(words: Sequence[str]) -> str:
    r"""A command in a crontab: quoted for the shell, with `%` kept from cron (crontab(5)).

    >>> print(cron(["ls", "100 %"]))
    ls '100 \%'
    """
    return shlex.join(words).replace("%", r"\%")


def systemd(words: Sequence[str]) -> str:
    """A command line in a unit file, absolute program first (systemd.service(5)).

    >>> print(systemd(["/bin/ls", "100 %", "$x"]))
    /bin/ls "100 %%" $$x
    """
    if set(words[0]) & set("\"'\\"):  # systemd starts no such program by itself
        words = ["/usr/bin/env", *words]
    program, *arguments = map(systemd_path, words)
    return " ".join([program, *(each.replace("$", "$$") for each in arguments)])


def systemd_path(path: str) -> str:
    """A path in a list of paths in a unit file (systemd.syntax(7)); a `%` begins a specifier."""
    text = path.replace("%", "%%")
    if re.fullmatch(r"[\w./:=@$%,+-]+", text, re.ASCII):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def yaml(value: object) -> str:
    """A value in YAML: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def label(name: str) -> str:
    """A name as Kubernetes allows it: lower case, digits and '-' (RFC 1123).

    >>> label("Acme_History.2024")
    'acme-history-2024'
    """
    text = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return text[:LABEL_CHARACTERS_MAX].strip("-")
