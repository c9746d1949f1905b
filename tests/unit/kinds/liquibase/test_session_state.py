"""What a changeset leaves in its session, and which changesets must share one."""

import pytest

from pgstrata.kinds.liquibase.session_state import left_by, repeated, together


def after(*changesets: str) -> tuple[str, ...]:
    """What is set again after these."""
    return repeated(left_by([text]) for text in changesets)


@pytest.mark.parametrize(
    "statement",
    [
        "SET search_path TO app, public",
        "set session authorization app",
        "set role app",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "set time zone 'UTC'",
        "set session app.tenant = 'it''s; one'",
        "set session characteristics as transaction isolation level serializable",
        "load 'auto_explain'",
    ],
)
def test_what_a_session_has_set_is_set_again(statement: str) -> None:
    assert after("create table a (a int)", f"-- first\n/* of all */ {statement};") == (statement,)


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
        "create temp table t (a int) on commit drop;",
        "create temp table t (a int); drop table t;",
        "prepare p as select 1; deallocate all;",
        "create function f() returns void language sql set search_path = a "
        "as $$ select set_config('a.b', 'c', false) $$;",
        "alter function f() set search_path = app;",
    ],
)
def test_what_ends_with_its_transaction_or_stays_in_the_database_is_not(statement: str) -> None:
    assert not left_by([statement]).anything


def test_the_last_value_of_each_setting_is_set_in_the_order_it_was_set_in() -> None:
    assert after("set a.b = 1; set role x;", "set c.d = 2", "set A.B to 3; reset c.d") == (
        "set role x",
        "set A.B to 3",
        "reset c.d",
    )


def test_taking_everything_back_leaves_who_a_session_acts_as() -> None:
    assert after("set role x; set a.b = 1", "reset all", "set c.d = 1") == (
        "set role x",
        "reset all",
        "set c.d = 1",
    )
    assert after("set role x; set a.b = 1", "discard all", "set c.d = 1") == (
        "reset all",
        "reset session authorization",
        "set c.d = 1",
    )


def groups(*changesets: str, own_tool: bool = False) -> list[list[int]]:
    texts = [[text] for text in changesets]
    found = together([left_by(one) for one in texts], texts, own_tool=own_tool)
    return [list(group) for group in found]


OTHER = "create table other (a int)"


@pytest.mark.parametrize(
    ("making", "using"),
    [
        ("create temporary table gone (a int)", "insert into gone values (1)"),
        ('create local temp view "Gone" as select 1', 'select * from "Gone"'),
        ("create table pg_temp.gone (a int)", "drop table gone"),
        ("select 1 as a into temp gone", "select * from GONE"),
        ("prepare gone as select 1", "execute gone"),
        ("declare gone cursor with hold for select 1", "fetch gone"),
        ("select setseed(0.5)", "select random()"),
    ],
)
def test_what_is_gone_with_the_session_is_used_in_the_session(making: str, using: str) -> None:
    assert groups(OTHER, making, OTHER, using, OTHER) == [[0], [1, 2, 3], [4]]
    assert groups(OTHER, making, OTHER, OTHER) == [[0], [1], [2], [3]]


def test_what_a_body_mentions_may_be_used_at_any_time() -> None:
    body = "create function f() returns int language plpgsql as $$ select a from gone $$"
    assert groups(body, OTHER, "create temp table gone (a int)", OTHER, OTHER) == [
        [0],
        [1],
        [2, 3, 4],
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "do $$ begin set work_mem = '6MB'; end $$",
        "do $$ begin perform set_config('a.b', 'c', false); end $$",
        "select set_config(name, 'UTC', false) from pg_settings",
        "alter system set work_mem = '6MB'",
    ],
)
def test_what_cannot_be_told_from_the_text_is_kept_to_the_end(statement: str) -> None:
    assert groups(OTHER, statement, OTHER, OTHER) == [[0], [1, 2, 3]]


def test_a_tool_of_ones_own_has_one_session_from_the_first_setting_on() -> None:
    for statement in ("set role app", "alter database a set search_path = b", "discard all"):
        assert groups(OTHER, statement, OTHER, own_tool=True) == [[0], [1, 2]]
        assert groups(OTHER, statement, OTHER) == [[0], [1], [2]]


def test_a_long_text_is_looked_through_to_its_end() -> None:
    rows = "insert into t values ('set a.b = 1; ');\n" * 20_000
    assert repeated([left_by([f"{rows}set work_mem = '6MB'; select 1;"])]) == (
        "set work_mem = '6MB'",
    )
