"""What a changeset leaves in its session."""

import pytest

from pgstrata.kinds.liquibase.session_state import left_in_session


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path TO app, public;",
        "set session authorization app;",
        "-- first\n/* of all */ set role app;",
        "SELECT pg_catalog.set_config('search_path', '', false);",
        "create temporary table t (a int);",
        "CREATE LOCAL TEMP TABLE t (a int);",
        "prepare find as select 1;",
    ],
)
def test_what_the_next_session_lacks_is_told(statement: str) -> None:
    told = left_in_session(["create table a (a int);", statement])
    assert told is not None
    assert statement.removesuffix(";").endswith(told)


@pytest.mark.parametrize(
    "statement",
    [
        "set local work_mem = '1GB';",
        "set transaction isolation level serializable;",
        "set constraints all deferred;",
        "select set_config('search_path', '', true);",
        "update t set a = 1;",
        "create table temp (a int);",
        "create table settings (a int default 1);",
        "prepare transaction 'one';",
        "insert into t values ('set search_path to app');",
        "-- set role app\nselect 1;",
    ],
)
def test_what_ends_with_its_transaction_or_stays_in_the_database_is_not(statement: str) -> None:
    assert left_in_session([statement]) is None


def test_a_long_statement_is_told_by_its_beginning() -> None:
    told = left_in_session([f"set search_path to {', '.join(f'app{n}' for n in range(50))};"])
    assert told is not None
    assert len(told) < 70
    assert told.endswith("…")
