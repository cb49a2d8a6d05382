"""A process is known by its number and by when it began."""

import os
import subprocess
import sys

from backfill.report.process import began_ticks, is_there

OURS = os.getpid()


def test_this_process_is_there():
    """With or without knowing when it began."""
    assert is_there(OURS, began_ticks(OURS))
    assert is_there(OURS, None)


def test_another_process_of_the_same_number_is_another():
    """The one that wrote the file began earlier, and is gone."""
    began = began_ticks(OURS)
    assert not is_there(OURS, None if began is None else began - 1) or began is None


def test_a_process_that_has_ended_is_gone():
    """Also while its parent has not noticed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = began_ticks(child.pid)
    assert is_there(child.pid, began)

    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert began is None or not is_there(child.pid, began)
    child.wait()
    assert not is_there(child.pid, began)
