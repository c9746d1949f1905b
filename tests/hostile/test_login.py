"""Who may log in, whatever a script does to roles and databases, and who may not."""

import os
import stat
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

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


def test_the_dsn_works_whatever_a_script_makes_of_the_password(shell: Terminal) -> None:
    for commands in (*((one,) for one in PASSWORDS), PASSWORDS):
        dsn = shell.prepare(*steps(commands))
        assert value(dsn, "select session_user") == "postgres"
        assert value(dsn, "select rolsuper from pg_roles where rolname = 'postgres'") is True


def test_liquibase_goes_on_whatever_a_changeset_makes_of_the_password(shell: Terminal) -> None:
    for number in range(1, len(PASSWORDS) + 1):
        # The second time round, each starts from a state.
        dsn = update(shell, PASSWORDS[:number])
    assert value(dsn, "select count(*) from databasechangelog") == len(PASSWORDS)


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
    assert len(list((shell.store / "run").iterdir())) == len(shell.json("ls", "-i")["instances"])


@needs.root
def test_a_servers_user_cannot_enter_what_holds_its_sockets_and_rules(shell: Terminal) -> None:
    shell.prepare("-c", "select 1")
    for path in (shell.store / "run").rglob("*"):
        status = path.lstat()
        if not stat.S_ISSOCK(status.st_mode) and not path.name.endswith(".lock"):
            assert (status.st_uid, status.st_mode & 0o022) == (os.geteuid(), 0), path


def test_a_server_that_builds_listens_to_nobody_but_its_own_tools(shell: Terminal) -> None:
    shown = shell.prepare("-c", "create table said as select current_setting('listen_addresses')")
    assert value(shown, "select * from said") == ""
