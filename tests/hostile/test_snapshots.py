"""An instance whose superuser tampered with it is kept as a state that can be used, or not at all.

Whatever becomes of that, the instance goes on, and of the attempt nothing is left.
"""

import psycopg
import pytest

from tests.acceptance.conftest import Shared, Terminal, shared, shared_by_all

__all__ = ["shared", "shared_by_all"]

USABLE = {
    "roles that may not log in": (
        "create role other superuser",
        "alter role postgres nologin",
    ),
    "settings for everybody": (
        "alter database postgres set default_transaction_read_only = on",
        "alter role all set search_path = nowhere",
        "alter role all set role = nobody_at_all",
    ),
    "functions in the place of ours": (
        "create schema evil",
        "create function evil.pg_control_checkpoint() returns int language sql as 'select 1/0'",
        "alter role all set search_path = evil, pg_catalog",
    ),
    # A checkpoint writes it anew.
    "another control file": ("copy (select 'nothing') to '{data}/global/pg_control'",),
}
"""What is done, statement by statement, and does not keep a state from being used."""

UNUSABLE = {
    "a library that is not there": (
        "alter system set shared_preload_libraries = 'nothing_like_it'",
    ),
    "no version": ("copy (select '' where false) to '{data}/PG_VERSION'",),
}


def tampered_with(shell: Terminal, statements: tuple[str, ...]) -> str:
    """The DSN of the instance ``dev``, in which this was done."""
    dev = shell.json("prepare:psql", "--name", "dev", "-c", "create table t as select 1 as n")
    with psycopg.connect(dev["dsn"], autocommit=True) as client:
        [(data,)] = client.execute("show data_directory").fetchall()
        for statement in statements:
            client.execute(statement.format(data=data).encode())
    return str(dev["dsn"])


def states_of(shell: Terminal) -> int:
    return len(shell.json("ls", "-s")["states"])


@pytest.mark.parametrize("statements", USABLE.values(), ids=USABLE)
def test_a_state_of_it_can_be_used(shared: Shared, statements: tuple[str, ...]) -> None:
    dsn = tampered_with(shared, statements)
    shared("snapshot", "dev", "--name", "seeded")
    made = shared.json("prepare:psql", "--from", "seeded", "-c", "select 1")
    for each in (dsn, made["dsn"]):
        with psycopg.connect(each, options="-c role=none") as client:
            assert client.execute("select n from public.t").fetchall() == [(1,)]
    # Nor can it keep itself from being compared.
    assert "alike" in shared("diff", "--rows", "seeded", "dev").stdout


def test_what_no_state_can_be_made_of_is_refused_and_goes_on(shared: Shared) -> None:
    for done, statements in UNUSABLE.items():
        dsn = tampered_with(shared, statements)
        before = states_of(shared)
        with psycopg.connect(dsn) as client:
            refused = shared("snapshot", "dev", exit_code=None)
            # One that cannot even be flushed would be stopped, which its client prevents.
            assert refused.returncode != 0, done
            assert "instance dev" in refused.stderr, done
            assert client.execute("select n from t").fetchall() == [(1,)], done
        assert states_of(shared) == before, done
        assert list((shared.store / "work").iterdir()) == [], done
        shared("rm", "-f", "dev")
