"""What is lost when a process of a server dies: nothing that was committed."""

import signal
from contextlib import suppress

import psutil
import psycopg
import pytest

from tests.acceptance.conftest import Terminal


def kill_the_backend(pgstrata: Terminal) -> None:
    """End, at once, the process of the only session there is."""
    for process in pgstrata.below_the_engine("postgres"):
        with suppress(psutil.NoSuchProcess):
            if "idle" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return
    raise AssertionError("there is no session")


def rows_once_it_recovered(dsn: str) -> int:
    """How many rows are in the table; the server refuses connections while it recovers."""
    while True:
        with suppress(psycopg.OperationalError), psycopg.connect(dsn) as connection:
            [(found,)] = connection.execute("select count(*) from t").fetchall()
            return int(found)


@pytest.mark.parametrize("commits", [1, 200])
def test_what_was_committed_outlives_a_killed_backend(shared: Terminal, commits: int) -> None:
    dsn = shared.prepare("-c", "create table t (n int)")
    for killed in range(1, 6):
        with psycopg.connect(dsn, autocommit=True) as session:
            for n in range(commits):
                session.execute("insert into t values (%s)", (n,))
            kill_the_backend(shared)
        assert rows_once_it_recovered(dsn) == killed * commits
