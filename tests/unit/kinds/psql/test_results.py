"""The columns of a query, and which of them are plain; the integration tests ask psql itself."""

import pytest

from pgstrata.kinds.psql.results import columns
from pgstrata.kinds.sql.lexer import Lexer
from pgstrata.kinds.sql.reader import Reader


def told(query: str) -> dict[str, bool] | None:
    text = query.encode()
    found = columns(Lexer(Reader(text)), 0, len(text))
    return None if found is None else {column.name: column.plain for column in found}


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('select a, t.b, s.t.c, "D", t."E" from t', "a b c D E"),
        ("SELECT Upper(a), count(*), pg_catalog.version() FROM t", "upper count version"),
        ("select a as x, b y, lower(c) z, (d) w from t", "x y z w"),
        ("select a::text, b::numeric(5, 2), f(c)::int, d::int e from t", "a b f e"),
        ("select a as from, b as limit, t.order from t order by 1", "from limit order"),
        ("select distinct on (a, b) a as x from t", "x"),
        ("select all a -- b as y,\n /* , c */ from t", "a"),
        ("with q as (select 1 as z), r (s) as (select 2) select a from q", "a"),
        ("insert into t (a) select b from u returning a, b as c", "a c"),
        ("update t set a = 1 where b returning *, a", None),
        ("with q as (select 1) delete from t returning a", "a"),
        ("select case when a then b end as x, case when a then b end from t", None),
        *(
            (f"select {item} from t", None)
            for item in ("*", "t.*", "a || b", "1", "'x'", ":v as a")
        ),
        *((f"select {item} from t", None) for item in ("(a)", "t.* as a", "cast(a as int)")),
        *(
            (f"select {item} from t", None)
            for item in ("a::text b", "a::double precision", "", ':"a"')
        ),
        *(
            (query, None)
            for query in ("", "table t", "values (1)", "show x", "select (1", "select 1)")
        ),
        ("select a \\; select b", None),
        ('select a as "x""y" from t', None),
        ("select a as é from t", None),
        (f"select a as {'x' * 64} from t", None),
    ],
)
def test_a_column_has_the_name_that_is_written(query: str, names: str | None) -> None:
    found = told(query)
    assert (found if found is None else " ".join(found)) == names


@pytest.mark.parametrize(
    "value",
    [
        *("1", "-1", "1.5e3", "true", "FALSE", "'app_1'", "a::int", "a::text::numeric(5, 2)"),
        *(
            "cast(a as bigint)",
            "count(*)",
            "count(distinct a) filter (where b)",
            "length(a || 'x')",
        ),
        *("count(*) over (partition by a)", "row_number() over w", "1 + length(a) * 2 - b::int"),
        *(
            "exists (select 1 from u)",
            "a = 'x;'",
            "a is null",
            "not a",
            "a like b || c",
            "a in ('x')",
        ),
        *("current_setting('server_version_num')::int >= 120000", "a || b <> c", "nextval('s')"),
    ],
)
def test_numbers_truth_and_harmless_literals_are_plain(value: str) -> None:
    assert told(f"select {value} as x from t") == {"x": True}


@pytest.mark.parametrize(
    "value",
    [
        *("a", "null", "'a;'", "'it''s'", "E'x'", "U&'x'", "$$x$$", "'a' 'b'", "upper(a)", "now()"),
        *(
            "a::text",
            "a::int[]",
            "a::int || b",
            "a::date - 1",
            "a - 1",
            "(a)",
            "(select 1)",
            "a -> 'b'",
        ),
        *(
            "case when a = b then c end",
            "max(a)",
            "s.count(a)",
            "s.t::s.int",
            "a::s.int",
            "1 + a",
            ":'v'",
        ),
        *(
            "cast(a as text)",
            "a::interval * 2",
            "coalesce(a, 1)",
            "row(1)",
            "array[1]",
            "a.is",
            '"count"(a)',
        ),
    ],
)
def test_anything_else_may_hold_anything(value: str) -> None:
    assert told(f"select {value} as x from t") == {"x": False}


@pytest.mark.parametrize("rest", ["union select 'a;'", "except all select b from u", "limit :n"])
def test_a_literal_is_not_plain_beside_another_query(rest: str) -> None:
    assert told(f"select 'a' as x, 1 as y from t {rest}") == {"x": False, "y": True}


def test_a_query_of_unreasonable_length_is_not_read() -> None:
    assert told(f"select {'a, ' * 20_000} b") is None
