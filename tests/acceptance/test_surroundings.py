"""What the machine around it is set to, which must not change what pgstrata does."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import pq

from pgstrata.config.load import LONGEST_STORE
from pgstrata.runtime.access import socket_dir_for
from tests import changelogs, confined, needs
from tests.acceptance.conftest import Terminal
from tests.liquibase import launcher, liquibase_home

LIBPQ = {
    *(option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar),
    *("PGSERVICEFILE", "PGSYSCONFDIR", "PGLOCALEDIR", "PGDATESTYLE", "PGTZ", "PGGEQO"),
    *("PGREQUIRESSL", "PGOAUTHDEBUG", "PGOFTHEFUTURE"),
}
"""What libpq takes from the environment, with what its list of options does not tell."""

SESSION = {
    "PGHOSTADDR": "192.0.2.1",
    "PGOPTIONS": "-c standard_conforming_strings=off -c search_path=nowhere",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Tokyo",
    "PGCLIENTENCODING": "LATIN1",
}
"""The same, with values that mean something: another host, and a session's settings."""

OTHERS = {
    # of libraries
    **dict.fromkeys(("PSYCOPG_IMPL", "WEB_CONCURRENCY", "OPENSSL_CONF"), "nonsense"),
    "FORWARDED_ALLOW_IPS": "*",
    # of programs
    **dict.fromkeys(("PGDATA", "PSQLRC", "PSQL_HISTORY", "PSQL_EDITOR", "PAGER"), "/nonsense"),
    **dict.fromkeys(("ENV", "BASH_ENV"), "/nonsense"),
    "POSIXLY_CORRECT": "1",
    # of Java and Liquibase
    **dict.fromkeys(("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"), "-Xnonsense"),
    **dict.fromkeys(("CLASSPATH", "LIQUIBASE_HOME", "LIQUIBASE_SEARCH_PATH"), "/nonsense"),
    "LIQUIBASE_COMMAND_URL": "jdbc:nonsense",
    "LIQUIBASE_COMMAND_CONTEXTS": "nonsense",
    "LIQUIBASE_DATABASE_CHANGELOG_TABLE_NAME": "nonsense",
    # of the C library
    **dict.fromkeys(("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE", "LOCPATH"), "xx_XX"),
    "TZ": "Nonsense/Zone",
}

PLAIN_C = {
    "LC_ALL": "C",
    "TZ": "Asia/Tokyo",
    "PYTHONIOENCODING": "ascii",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONOPTIMIZE": "2",
}
"""A Python that can write nothing but ASCII."""

SAID = """
create table said as select
    current_setting('TimeZone') as zone, current_setting('DateStyle') as dates,
    current_setting('search_path') as path, 'größer \\' as text;
"""


def said(dsn: str) -> tuple[object, ...]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select zone, dates, path, text from said").fetchone()
    assert row is not None
    return row


def with_dotfiles(pgstrata: Terminal) -> None:
    """Give the home what libpq, psql and Liquibase look for there."""
    for name in (".pgpass", ".pg_service.conf", ".psqlrc", ".liquibase", ".npmrc"):
        (pgstrata.home / name).write_text("nonsense\n")
    keys = pgstrata.home / ".postgresql"
    keys.mkdir()
    for name in ("root.crt", "root.crl", "postgresql.crt", "postgresql.key"):
        (keys / name).write_text("nonsense\n")


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(dict.fromkeys(LIBPQ, "nonsense") | OTHERS, id="nonsense"),
        pytest.param(SESSION | PLAIN_C, id="another session, a plain C"),
    ],
)
def test_no_variable_has_a_say_in_what_psql_prepares(
    pgstrata: Terminal, hostile: dict[str, str]
) -> None:
    calm = dict(pgstrata.environment)
    pgstrata.environment |= hostile
    with_dotfiles(pgstrata)
    pgstrata.write("größer.sql", SAID)
    words = ("prepare:psql", "--", "-f", "größer.sql", "-c", "select pg_sleep(0)")
    first = pgstrata(*words)
    assert "built" in first.stderr
    pgstrata("--help")
    pgstrata("engine", "stop")
    pgstrata.environment = calm
    again = pgstrata(*words)
    assert "built" not in again.stderr
    for ended in (first, again):
        assert said(ended.stdout.strip().removeprefix("DSN=")) == (
            "UTC",
            "ISO, MDY",
            '"$user", public',
            "größer \\",
        )


@pytest.mark.parametrize("own", [False, True], ids=["ours", "one's own"])
def test_no_variable_has_a_say_in_what_liquibase_prepares(pgstrata: Terminal, own: bool) -> None:
    home = liquibase_home()
    pgstrata.environment |= dict.fromkeys(LIBPQ, "nonsense") | OTHERS
    with_dotfiles(pgstrata)
    pgstrata.environment["PGSTRATA_LIQUIBASE_HOME"] = str(home)
    pgstrata.write("a.xml", changelogs.xml(changelogs.changeset(1, f"<sql>{SAID}</sql>")))
    program = ("--liquibase-exec", launcher(pgstrata.work)) if own else ()
    words = ("prepare:lb", *program, "--", "update", "--changelog-file=a.xml")
    dsn = pgstrata(*words).stdout.strip().removeprefix("DSN=")
    assert said(dsn)[-1] == "größer \\"


def test_no_variable_has_a_say_in_the_demonstration(pgstrata: Terminal) -> None:
    pgstrata.environment |= dict.fromkeys(LIBPQ, "nonsense") | OTHERS
    assert "DSN=postgresql://" in pgstrata("demo").stdout


MARKS = "c%20%s#d@e=f$HOME!h*i?j[k]{l}~&|<>`"

PLACES = {
    "marks": f"""{MARKS} Lovelace, Ada: "it's" "ho\\me""",
    "letters": "-größer 家 🐘",
    "length": "/".join(["long" * 20] * 6),
}
"""Directories that a person may have for a home, as much of them as there may be of a path."""

ALL_AT_ONCE = f"{PLACES['letters']} {PLACES['marks']}"


@pytest.fixture
def moved(pgstrata: Terminal, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A shell whose home is such a directory."""
    home = Path(str(pgstrata.home / request.param)[: LONGEST_STORE - len("/store")])
    pgstrata.home, pgstrata.store, pgstrata.work = home, home / "store", home / "work"
    pgstrata.work.mkdir(parents=True)
    pgstrata.environment |= {"HOME": str(home), "PGSTRATA_STORE": str(pgstrata.store)}
    sockets = socket_dir_for(pgstrata.store)
    yield pgstrata
    pgstrata.tear_down()
    if not sockets.is_relative_to(home):
        shutil.rmtree(sockets)


@pytest.mark.parametrize(
    "moved",
    [
        pytest.param(ALL_AT_ONCE, id="all at once"),
        *(pytest.param(PLACES[name], id=name, marks=pytest.mark.slow) for name in PLACES),
    ],
    indirect=True,
)
def test_a_store_and_its_scripts_may_be_anywhere(moved: Terminal) -> None:
    moved.write("data.csv", "1\n2\n")
    moved.write("a.sql", "create table t (a int);\n\\copy t from 'data.csv'\n\\ir sub/b.sql\n")
    moved.write("sub/b.sql", "insert into t values (3);\n")
    words = ("-f", moved.work / "a.sql", "-f", "sub/b.sql")
    for _ in range(2):
        dsn = moved.prepare(*words)
        moved("engine", "stop")
        with psycopg.connect(dsn) as connection:
            assert connection.execute("select sum(a) from t").fetchone() == (9,)
    assert moved.json("status")["store"]["path"] == str(moved.store)
    moved("cache", "verify")


@pytest.mark.parametrize("moved", [f"größer, {MARKS}"], indirect=True)
def test_liquibase_and_its_changelogs_may_be_anywhere(moved: Terminal) -> None:
    moved("liquibase", "install", "--from", liquibase_home())
    moved.write("a.xml", changelogs.xml(changelogs.changeset(1, '<sqlFile path="ö #%20.sql"/>')))
    moved.write("ö #%20.sql", "create table t as select 7 as a")
    update = ("--", "update", "--changelog-file=a.xml", "--search-path=.")
    ended = moved("prepare:lb", *update)
    with psycopg.connect(ended.stdout.strip().removeprefix("DSN=")) as connection:
        assert connection.execute("select a from t").fetchone() == (7,)
    tasks = moved.json("plan:lb", *update)["tasks"]
    assert [task["cached"] for task in tasks if task["type"] == "state_execute"] == [True]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("two\nlines", "line break"),
        ("a\ttab", "control character"),
        (os.fsdecode(b"gr\xf6\xdfer"), "not UTF-8"),
        ("/".join(["long" * 20] * 6), "longer than"),
    ],
)
def test_a_store_that_cannot_be_anywhere_is_refused_before_it_is_made(
    pgstrata: Terminal, name: str, reason: str
) -> None:
    store = pgstrata.home / name / "store"
    pgstrata.environment["PGSTRATA_STORE"] = str(store)
    for words in (("status",), ("engine", "serve"), ("demo",)):
        refused = pgstrata(*words, exit_code=2)
        assert reason in refused.stderr
        assert "--store" in refused.stderr
    assert not store.parent.exists()


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="as it is", marks=pytest.mark.slow),
        pytest.param(PLAIN_C, id="a plain C"),
    ],
)
def test_a_path_that_is_not_utf_8_is_refused_by_its_name(
    pgstrata: Terminal, more: dict[str, str]
) -> None:
    pgstrata.environment |= more
    name = os.fsdecode(b"gr\xf6\xdfer.sql")
    pgstrata.write(name, "select 1")
    refused = pgstrata("prepare:psql", "--", "-f", name, exit_code=2)
    assert "is not UTF-8" in refused.stderr
    assert r"gr\udcf6\udcdfer.sql" in refused.stderr
    assert "is not UTF-8" in pgstrata("rm", name, exit_code=2).stderr
    pgstrata.work /= os.fsdecode(b"gr\xf6\xdfer")
    pgstrata.work.mkdir()
    refused = pgstrata("prepare:psql", "--", "-c", "select 1", exit_code=2)
    assert "is not UTF-8" in refused.stderr
    assert r"gr\udcf6\udcdfer" in refused.stderr


@pytest.fixture
def ordinary(pgstrata: Terminal) -> Terminal:
    """The shell of somebody who is not root."""
    if not needs.IS_ROOT:
        return pgstrata
    shutil.rmtree(pgstrata.store)  # root's
    for directory in (pgstrata.home, pgstrata.work):
        shutil.chown(directory, "nobody")
    user = Terminal(pgstrata.home, "nobody")
    # What the fixture tears down at the end.
    pgstrata.command, pgstrata.environment = user.command, user.environment
    pgstrata.user = user.user
    return pgstrata


def test_where_nobody_may_make_namespaces_all_works_and_status_says_so(ordinary: Terminal) -> None:
    program = Path(confined.__file__).read_text()
    python = next(one for one in (ordinary.command[0], sys.executable) if "python" in str(one))
    ordinary.command = [python, "-c", program, *ordinary.command]
    ordinary.environment["TMPDIR"] = str(ordinary.work)
    assert "DSN=postgresql://" in ordinary("demo").stdout
    status = ordinary("status").stdout
    assert "mounts      none: this user may not create user namespaces (" in status
    assert "overlay: not possible to this user" in status
    assert "servers     run as the user of the engine" in status
    assert ordinary.json("status")["snapshots"]["backend"] != "overlay"


def test_what_is_in_shared_memory_is_read_like_any_file(shared: Terminal) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="pgstrata-test-") as made:
        directory = Path(made)
        for name in ("first", "second", "other"):
            (directory / f"{name}.sql").write_text(f"create table {name} as select 1;\n")
        with (directory / "first.sql").open("a") as script:
            script.write("\\ir second.sql\n")
        dsn = shared.prepare("-f", directory / "first.sql")
        shared.work, before = directory, shared.work
        try:
            shared.prepare("-f", "other.sql")
        finally:
            shared.work = before
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select * from first, second").fetchall() == [(1, 1)]


WITHOUT = ("setpriv", "--no-new-privs")


@needs.root
@pytest.mark.parametrize(
    ("kept_back", "named"),
    [
        pytest.param("-all", "CAP_SETUID", marks=pytest.mark.slow),
        ("-chown", "CAP_CHOWN"),
        pytest.param("-setuid", "CAP_SETUID", marks=pytest.mark.slow),
    ],
)
def test_a_root_that_cannot_run_servers_is_told_so(
    pgstrata: Terminal, kept_back: str, named: str
) -> None:
    own = pgstrata.command
    pgstrata.command = [*WITHOUT, f"--bounding-set={kept_back}", f"--inh-caps={kept_back}", *own]
    for words in (("demo",), ("engine", "serve"), ("status",)):
        refused = pgstrata(*words, exit_code=3)
        assert "cannot run servers as" in refused.stderr
        assert named in refused.stderr
        assert "ordinary user" in refused.stderr


@needs.root
def test_a_root_that_may_not_mount_does_without(pgstrata: Terminal) -> None:
    own = pgstrata.command
    pgstrata.command = [*WITHOUT, "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", *own]
    pgstrata.prepare("-c", "select 1")
    assert "mounts      none: this root lacks CAP_SYS_ADMIN" in pgstrata("status").stdout
