"""Who may log in, whatever a script does to roles and databases, and who may not."""

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgstrata.runtime.access import socket_dir_for
from tests import changelogs, needs
from tests.acceptance.conftest import Terminal
from tests.filesystems import reachable_place
from tests.liquibase import liquibase_home

PASSWORDS = (
    "alter role postgres password 'x'",
    "alter role postgres password null",
    "set password_encryption = 'md5'; alter role postgres password 'x'",
    "alter role postgres valid until '2001-01-01'",
    "alter role postgres connection limit 0",
    "alter database postgres connection limit 0",
)


LOCKOUTS = (
    "alter role postgres nologin",
    pytest.param(
        "create role temp superuser login;\n\\c postgres temp\n"
        "alter role postgres rename to boss; create role postgres login",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        """create role temp superuser login;\n\\c postgres temp
        alter role postgres rename to "it's \\ ""me" """,
        marks=pytest.mark.slow,
    ),
    """create role temp superuser login;\n\\c postgres temp
    alter role postgres rename to "it's \\ ""me"; create role postgres login""",
    "\\c template1\nalter database postgres allow_connections false",
    """create schema catch; create view catch.pg_authid as select 1;
    alter role postgres set search_path = catch, pg_catalog;
    alter role postgres set role = pg_monitor;
    alter role postgres set default_transaction_read_only = on;
    alter system set default_transaction_read_only = on""",
)
"""What keeps the superuser out, or would keep the engine from its work there."""

DROPPED = ("create database shop", "\\c shop\ndrop database postgres")


@pytest.fixture(scope="module")
def shell() -> Iterator[Terminal]:
    """A shell with a store for all tests here, whose engine finds Liquibase."""
    with reachable_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        terminal.environment["PGSTRATA_LIQUIBASE_HOME"] = str(liquibase_home())
        yield terminal
        terminal.tear_down()


def value(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def steps(commands: tuple[str, ...]) -> Iterator[str]:
    for command in commands:
        yield from ("-c", command)


def update(shell: Terminal, commands: tuple[str, ...]) -> str:
    """Prepare a changelog with these changesets; the DSN."""
    numbered = enumerate(commands)
    changesets = (changelogs.changeset(n, f"<sql>{command}</sql>") for n, command in numbered)
    shell.write("a.xml", changelogs.xml(*changesets))
    printed = shell("prepare:lb", "--", "update", "--changelog-file=a.xml").stdout
    return printed.strip().removeprefix("DSN=")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([PASSWORDS], id="together"),
        pytest.param([(one,) for one in PASSWORDS], id="alone", marks=pytest.mark.slow),
    ],
)
def test_the_dsn_works_whatever_a_script_makes_of_the_password(
    shell: Terminal, changes: list[tuple[str, ...]]
) -> None:
    for commands in changes:
        dsn = shell.prepare(*steps(commands))
        assert value(dsn, "select session_user") == "postgres"
        assert value(dsn, "select rolsuper from pg_roles where rolname = 'postgres'") is True


CHANGES = (*PASSWORDS, "alter role postgres nologin", "select 1")


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param((len(CHANGES) - 1, len(CHANGES)), id="the last from a state"),
        pytest.param(range(1, len(CHANGES) + 1), id="each from a state", marks=pytest.mark.slow),
    ],
)
def test_liquibase_goes_on_whatever_a_changeset_makes_of_the_login(
    shell: Terminal, numbers: Sequence[int]
) -> None:
    for number in numbers:
        dsn = update(shell, CHANGES[:number])
    assert value(dsn, "select count(*) from databasechangelog") == len(CHANGES)


def test_a_state_keeps_what_its_script_said(shell: Terminal) -> None:
    expiry = "select rolvaliduntil::text, rolpassword from pg_authid where rolname = 'postgres'"
    shell.prepare("-c", "alter role postgres valid until '2001-01-01 UTC' password 'x'")
    dsn = shell.prepare(
        *steps(
            (
                "alter role postgres valid until '2001-01-01 UTC' password 'x'",
                f"create table said as {expiry}",
            )
        )
    )
    assert value(dsn, "select rolvaliduntil::timestamptz < now() from said")
    assert value(dsn, "select rolpassword like 'SCRAM%' from said")


@pytest.mark.parametrize("locking", LOCKOUTS)
def test_the_dsn_works_and_so_does_the_next_step_whatever_locks_the_superuser_out(
    shell: Terminal, locking: str
) -> None:
    shell.write("lock.sql", locking)
    superuser = "select rolsuper from pg_roles where rolname = session_user"
    first = shell.prepare("-f", "lock.sql")
    assert value(first, superuser) is True
    # The first time round on the server that was locked, then on the state.
    for after in ("a", "b"):
        dsn = shell.prepare(
            "-f",
            "lock.sql",
            *steps(
                (f"set role none; set transaction_read_only = off; create table public.{after} ()",)
            ),
        )
        assert value(dsn, superuser) is True


LOGGING = """
create table logins (who text);
create function note() returns event_trigger language plpgsql as $$
begin insert into logins values (current_setting('application_name')); {more} end $$;
create event trigger noting on login execute function note();
alter event trigger noting enable always;
"""


@pytest.mark.parametrize("more", ["", "raise exception 'no entry';"])
def test_login_triggers_neither_see_nor_stop_the_engine(shell: Terminal, more: str) -> None:
    shell.write("trigger.sql", LOGGING.format(more=more))
    dsn = shell.prepare("-f", "trigger.sql")
    if more:
        with pytest.raises(psycopg.OperationalError, match="no entry"):
            value(dsn, "select 1")
    assert value(f"{dsn}?options=-c%20event_triggers%3Doff", "select count(*) from logins") == 0


def test_without_its_database_the_dsn_leads_to_the_oldest_one_there_is(shell: Terminal) -> None:
    shell.write("drop.sql", ";\n".join(DROPPED))
    for after in ("a", "b"):
        dsn = shell.prepare("-f", "drop.sql", *steps((f"create table {after} ()",)))
        assert value(dsn, "select current_database()") == "shop"


def test_a_step_may_be_any_role(shell: Terminal) -> None:
    dsn = shell.prepare(
        *steps(("create role app login", "create database shop owner app")),
        *("-f", shell.write("shop.sql", "\\c shop app\ncreate schema app;\n")),
        *("-c", "create table said as select session_user"),
    )
    shop = f"{dsn.removesuffix('postgres')}shop"
    assert (
        value(shop, "select nspowner::regrole::text from pg_namespace where nspname='app'") == "app"
    )
    assert value(dsn, "select * from said") == "postgres"


def test_no_two_instances_have_one_password_or_one_directory_for_sockets(shell: Terminal) -> None:
    first, second = (shell.prepare("-c", "select 1") for _ in range(2))
    password = conninfo_to_dict(first)["password"]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(make_conninfo(second, password=password))
    assert len(list(socket_dir_for(shell.store).iterdir())) == len(
        shell.json("ls", "-i")["instances"]
    )


@needs.root
def test_a_servers_user_cannot_enter_what_holds_its_sockets_and_rules(shell: Terminal) -> None:
    shell.prepare("-c", "select 1")
    for path in (shell.store / "run").rglob("*"):
        status = path.lstat()
        if not stat.S_ISSOCK(status.st_mode) and not path.name.endswith(".lock"):
            assert (status.st_uid, status.st_mode & 0o022) == (os.geteuid(), 0), path


def test_what_a_state_says_of_its_server_is_above_our_defaults(shell: Terminal) -> None:
    said = {
        "wal_level": "logical",
        "max_connections": "37",
        "fsync": "on",
        "max_wal_senders": "3",
        "shared_buffers": "24MB",
        "cluster_name": "it's \\ here",
    }
    quoted = ((name, text.replace("'", "''")) for name, text in said.items())
    dsn = shell.prepare(
        *steps(tuple(f"alter system set {name} = '{text}'" for name, text in quoted)),
        *("-c", "create table here as select setting from pg_settings where name = 'wal_level'"),
    )
    assert {name: value(dsn, f"select current_setting('{name}')") for name in said} == said
    assert value(dsn, "select * from here") == "logical"


@pytest.mark.parametrize(
    "setting",
    [
        "shared_preload_libraries = 'nope'",
        pytest.param("wal_level = 'minimal', max_wal_senders = 5", marks=pytest.mark.slow),
        "role postgres: session_preload_libraries = 'nope'",
        pytest.param("database postgres: local_preload_libraries = 'nope'", marks=pytest.mark.slow),
    ],
)
def test_a_step_that_keeps_servers_from_being_used_fails_and_says_why(
    shell: Terminal, setting: str
) -> None:
    whose, _, setting = f"system: {setting}".rpartition(": ")
    whose = whose.removeprefix("system: ")
    statements = [f"alter {whose} set {one}" for one in setting.split(", ")]
    shell.write("a.sql", ";\n".join(statements))
    words = ("prepare:psql", "--", "-c", "create table a ()", "-f", "a.sql", "-c", "select 1")
    for last in (len(words), -2):
        said = shell(*words[:last], exit_code=1).stderr
        assert "no server can be used after `-f" in said
        assert setting.partition(" ")[0] in said or 'could not access file "' in said


def test_settings_that_are_the_engines_stay_so(shell: Terminal) -> None:
    dsn = shell.prepare(
        *steps(
            (
                "alter system set hba_file = '/nowhere'",
                "alter system set listen_addresses = '*'",
                "alter system set unix_socket_group = 'nobody'",
                "alter system set unix_socket_directories = '/tmp'",
                "alter system set archive_mode = on",
            )
        )
    )
    assert value(dsn, "select current_setting('archive_mode')") == "off"


def test_a_server_that_builds_listens_to_nobody_but_its_own_tools(shell: Terminal) -> None:
    shown = shell.prepare("-c", "create table said as select current_setting('listen_addresses')")
    assert value(shown, "select * from said") == ""
