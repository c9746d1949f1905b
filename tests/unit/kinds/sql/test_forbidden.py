"""What is found forbidden in SQL that is not run yet: texts, in strings or not, with their gaps."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgstrata.kinds.sql.forbidden import find, unsafe_encoding
from pgstrata.kinds.sql.reader import MARGIN, WINDOW

FORBIDDEN = (
    *(b"copy t from 'x'", b"copy t to program 'x'", b"copy a.b (c, d) from 'x'", b"copy t to e'x'"),
    *(b"copy/**/t/**/from/**/'x'", b"copy -- x\n t from 'x'", b"copy binary t from 'x'"),
    *(b"copy binary from 'x'", b"copy from from 'x'", b'copy "a b" from $a$x$a$', b"copy %I to %L"),
    *(b"copy (select (1)) to 'x'", b"copy(table t)to u&'x'", b"copy a . b from 'x'"),
    *(b"execute 'copy ' || t || ' from ' || f || ' to ''x'''", b"'copy ', t, ' from ''x'''"),
    *(b"select pg_ls_dir('x')", b'create foreign data wrapper w; wrapper /* x */ "file_fdw"'),
    *(b"set standard_conforming_strings = off", b"set standard_conforming_strings to 'off'"),
    *(b"reset standard_conforming_strings", b"'standard_conforming_strings', 'off'"),
    *(b"set client_encoding to 'sjis'", b"set names big5-- x", b'client_encoding=\n"gbk"'),
)
ALLOWED = (
    *(b"copy t from stdin", b"copy t to stdout", b"a copy of it, from 1", b"copyright from 'x'"),
    *(b"copy (select 1) to stdout", b"copy_t from 'x'", b"-- copy t from 'x'\nselect pg_catalog.x"),
    *(b"set standard_conforming_strings = on", b"show standard_conforming_strings"),
    *(b"set standard_conforming_strings to 'on'", b"'standard_conforming_strings' , 'on'"),
    *(b"set client_encoding to 'utf8'", b"set names latin1", b"client_encoding = sjisx"),
    *(
        b"wrapper file_fdw_2",
        b"my_pg_ls_dir",
        b"pg_ls_dir_2",
        b"names, big5_of",
        b"copy t; from 'x'",
    ),
)


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_what_hangs_on_more_than_the_sql_is_found(sql: bytes) -> None:
    assert find(sql)
    assert find(sql.upper())


@pytest.mark.parametrize("sql", ALLOWED)
def test_what_does_not_is_let_pass(sql: bytes) -> None:
    assert find(sql) == ()


@given(
    sql=st.sampled_from(FORBIDDEN + ALLOWED),
    before=st.integers(-60, 60),
    edge=st.sampled_from((WINDOW - MARGIN, WINDOW, 2 * WINDOW - MARGIN)),
)
@settings(deadline=None)
def test_it_is_found_wherever_windows_end(sql: bytes, before: int, edge: int) -> None:
    start = edge + before
    found = [(one.start - start, one.what) for one in find(b" " * start + sql + b" " * 3000)]
    assert found == [(one.start, one.what) for one in find(sql)]


@pytest.mark.parametrize("gap", [b" ", b"\n", b"-- some words\n", b"/* some words */"])
def test_it_is_found_however_long_the_gaps_are(gap: bytes) -> None:
    assert find(b"copy " + gap * (WINDOW // len(gap) + 100) + b"t from 'x'")


@pytest.mark.parametrize("length", [9_000, 11_000])
def test_the_columns_of_a_table_may_be_many(length: int) -> None:
    assert bool(find(b"copy t (" + b"a" * length + b") from 'x'")) == (length < 10_000)


def test_an_encoding_is_known_by_its_letters_and_digits() -> None:
    assert unsafe_encoding("Shift_JIS-2004")
    assert not unsafe_encoding("UTF-8")
    assert not unsafe_encoding("sjis" + "-" * 64)
