"""The command line as a process of its own, without its second of imports.

    python tests/support/forking.py SOCKET

Waits with everything imported. Each connection brings a command and the three standard streams;
a fork carries it out, the answer is its process id, then how it ended and the
kilobytes that it had at most. What a start from
nothing is like, the kill storm and the tests of the command line see to.
"""

import array
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import aiohttp
import duckdb
import obstore
import pandas as pd
import pyarrow.parquet as pq

import backfill
from backfill.cli import app
from backfill.commands import state_home
from backfill.pipeline.file import Pipeline
from backfill.remote_state.lease import Pace
from backfill.report import html

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.jobs import CUSTOMERS, EVENTS, job  # the tests are not installed

READY = "ready"
ON_THE_WAY = (adbc, aiohttp, duckdb, obstore, pd, pq)
"""What commands load when they use it."""

_STREAMS = 3
_REQUEST_BYTES_MAX = 1 << 20


def get_ready() -> None:
    """Do once what each fork would do by itself."""
    for each in pkgutil.walk_packages(backfill.__path__, "backfill."):
        if not each.name.startswith(("backfill.__main__", "backfill.sandbox")):
            importlib.import_module(each.name)
    # To compile the page and the checks of settings takes longer than a small run.
    html.template()
    with tempfile.TemporaryDirectory() as folder:
        Pipeline.load(job(Path(folder), {}, CUSTOMERS, EVENTS)).digest()
    gc.freeze()  # a fork that looks for garbage among all that is imported copies it


def main(path: str) -> None:
    """Serve until the standard input ends, which it does when the tests have ended."""
    get_ready()
    # Started in the background, it ignores Ctrl-C; what a user starts in a terminal does not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print(READY, flush=True)
        # Nobody asks how a fork that answered ended; the system takes it away by itself.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        if os.fork() == 0:
            sys.stdin.read()
            os.kill(os.getppid(), signal.SIGTERM)
            os._exit(0)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Carry one command out, and tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    room = socket.CMSG_SPACE(_STREAMS * array.array("i").itemsize)
    request, ancillary, _, _ = connection.recvmsg(_REQUEST_BYTES_MAX, room)
    streams = array.array("i", ancillary[0][2])
    child = os.fork()
    if child == 0:
        connection.close()
        _become(json.loads(request), streams)
    connection.sendall(f"{child}\n".encode())
    _, status, used = os.wait4(child, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)} {used.ru_maxrss}\n".encode())
    os._exit(0)


def _become(request: dict, streams: array.array) -> None:
    """Be the command from here on."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for stream in set(streams):
            os.close(stream)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        _meet_the_terminal()
        if pace := request["pace"]:
            state_home.PACE = Pace(*pace)
        code = app.main(request["arguments"])
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  # it must not go on as the parent would
        traceback.print_exc()
    finally:
        os._exit(code)


def _meet_the_terminal() -> None:
    """Open the streams as Python does where it is started at one: line by line."""
    if not sys.stdout.isatty():
        return
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    how = {"buffering": 1, "encoding": encoding, "closefd": False}
    sys.stdin, sys.stdout = open(0, **how), open(1, "w", **how)  # noqa: SIM115  # to the end
    sys.stderr = open(2, "w", errors="backslashreplace", **how)  # noqa: SIM115


if __name__ == "__main__":
    main(sys.argv[1])
