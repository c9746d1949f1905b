"""What others with an account on the machine can read of an engine."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from tests import changelogs
from tests.acceptance.conftest import Terminal
from tests.liquibase import launcher, liquibase_home

HANGS = "select pg_sleep(600)"


@contextmanager
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def test_only_its_user_can_read_what_an_engine_writes_down(pgstrata: Terminal) -> None:
    pgstrata.store.mkdir(exist_ok=True)
    log = pgstrata.store / "engine.log"
    log.write_text("of an earlier version\n")
    log.chmod(0o666)
    with no_umask():
        dsn = pgstrata.prepare("-c", "select 1")
    password = psycopg.conninfo.conninfo_to_dict(dsn)["password"]
    assert isinstance(password, str)
    secrets = {password, pgstrata.engine_file()["authToken"]}
    written = [file for file in pgstrata.store.rglob("*") if file.is_file()]
    open_to_others = [file for file in written if file.stat().st_mode & 0o077]
    assert log in written
    assert not [file for file in open_to_others if file.suffix == ".log"]
    assert not [file for file in open_to_others if contains(file, secrets)]


def contains(file: Path, secrets: set[str]) -> bool:
    content = file.read_bytes()
    return any(secret.encode() in content for secret in secrets)


def arguments() -> Iterator[str]:
    """What each process on the machine was started with."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield (process / "cmdline").read_text(errors="replace")


def check_arguments(pgstrata: Terminal, runs: Callable[[], bool]) -> None:
    """See that no secret is in any process's arguments, until a step runs, and then once more."""
    secrets = {pgstrata.engine_file()["authToken"]}
    looking = True
    while looking:
        looking = not runs()
        [job] = pgstrata.json("ls", "--jobs")["jobs"]
        assert job["status"] in ("queued", "running")
        shown = re.compile("|".join(map(re.escape, secrets)))
        assert not [words for words in arguments() if shown.search(words)]
    pgstrata("rm", "-f", job["job_id"])


def in_sql(pgstrata: Terminal) -> bool:
    """Whether a server carries out a statement."""
    for server in pgstrata.below_the_engine("postgres"):
        with suppress(OSError):
            if "SELECT" in Path(f"/proc/{server.pid}/cmdline").read_text(errors="replace"):
                return True
    return False


def test_no_password_is_in_the_arguments_of_psql_or_of_a_server(pgstrata: Terminal) -> None:
    pgstrata("prepare:psql", "--no-watch", "--", "-c", HANGS)
    check_arguments(pgstrata, lambda: in_sql(pgstrata))


@pytest.mark.parametrize("own", [False, True])
def test_no_password_is_in_the_arguments_of_liquibase(
    pgstrata: Terminal, tmp_path: Path, own: bool
) -> None:
    pgstrata.environment["PGSTRATA_LIQUIBASE_HOME"] = str(liquibase_home())
    pgstrata.write("a.xml", changelogs.xml(changelogs.changeset(1, f"<sql>{HANGS}</sql>")))
    exec_ = (f"--liquibase-exec={launcher(tmp_path)}",) if own else ()
    pgstrata("prepare:lb", *exec_, "--no-watch", "--", "update", "--changelog-file=a.xml")
    check_arguments(pgstrata, lambda: in_sql(pgstrata))
