r"""The scanner beside psql itself: the includes it finds are those that psql carries out.

Every file that a script includes prints a marker. Scripts are soup: fragments that change how psql
reads on, in any order, between includes. psql goes on after the errors that makes.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgstrata.kinds.psql.commands import read_command
from pgstrata.kinds.psql.connecting import target
from pgstrata.kinds.psql.scanner import scan
from pgstrata.kinds.psql.script import Include, Script, is_inert
from pgstrata.kinds.sql.reader import Reader
from pgstrata.runtime.base import ToolCommand, run_by_lines
from pgstrata.system.output import Stream
from tests.clusters import NativeRig, no_server_left

MARKERS = 12
_FRAGMENTS = (
    *("'", '"', "$$", "$a$", "$b", "$1", "E'", "e'", "\\'", "''", "U&'", "x'", "n'", "a$", "1$$"),
    *(
        "--",
        "/*",
        "*/",
        "/* /* */",
        "*/ */",
        "*",
        "/",
        "-",
        "\n",
        "\n",
        "\n",
        "\r",
        "\r\n",
        "\t",
        " ",
        " ",
    ),
    *(";", "(", ")", ":", "::", ":=", ":x", ":'x'", ':"x"', ":{?x}", "[1:2]", "{", "?", "|"),
    *("select 1", "select 'a'", "from t", "create function f() begin atomic", "end", "é", "\x80"),
    *("\\echo a", "\\echo 'a", '\\echo "a', "\\echo 'a\\'b'", "\\\\", "\\;", "\\:", "\\p", "\\r"),
    *("\\g", "\\gset", "\\set y 1", "\\set y 'a b'", "\\unset y", "\\echo :x", "\\sf", "\\h x"),
    *("copy t from stdin;\n", "copy t from stdin\n;\n", "copy t (a) from stdin \\g\n", "\\.\n"),
    *("COPY t TO stdout;\n", "\\copy t from stdin\n", "\\copy (select 1) to stdout\n", "1\n"),
    *("copy", "from stdin", ";copy t from stdin;\n", "\ncopy t from stdin;\n1\n\\.\n", "\n\\.\n"),
    *("\\q\n", "\n\\if true\n", "\n\\if false\n", "\n\\elif true\n", "\n\\else\n", "\n\\endif\n"),
)
_INCLUDES = (
    "\\i {}",
    "\\i {}\n",
    "\\ir {}",
    "\\include '{}'",
    "\\i {};",
    "\n\\i {}\n",
    "\\i ./{} x",
)
_SOUP = st.lists(
    st.sampled_from(_FRAGMENTS) | st.sampled_from(_INCLUDES), min_size=1, max_size=40
).filter(lambda words: any("{}" in word for word in words))


_PREPARE = """
create table t (a text);
create database "my-shop";
create database "a=b";
\\set password `echo "$PGPASSWORD"`
create role "o'brien" login password :'password';
"""


class Printed(NamedTuple):
    """What psql made of a script."""

    markers: list[int]
    astray: bool
    """Whether an error changed what psql read next, though outside of this test it stops there.

    It passes by the rest of the line of a backslash command that failed, and takes the data of a
    COPY that failed for script.
    """
    lines: list[str]


_ASTRAY = re.compile(r": error: |^LINE \d+:.*(?i:copy)")

Psql = Callable[[bytes], Printed]


@pytest.fixture(
    scope="module",
    params=[
        "10",
        "18",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("13", "15", "17")),
    ],
)
def psql(request: pytest.FixtureRequest, reachable_dir: Path) -> Iterator[Psql]:
    """Runs a script on one major, with the psql that is beside its server; the markers printed."""
    directory = reachable_dir / f"psql-{request.param}"
    directory.mkdir(mode=0o711)
    with no_server_left(directory), _psql(directory, request.param) as run:
        yield run


@contextmanager
def _psql(directory: Path, version: str) -> Iterator[Psql]:
    rig = NativeRig(directory, version)
    scripts = directory / "scripts"
    scripts.mkdir()
    for number in range(MARKERS):
        (scripts / f"m{number}.sql").write_text(f"\\echo\n\\echo marker-{number}-\n")
    server = asyncio.run(rig.runtime.start(rig.image, rig.cluster()))

    def run(script: bytes) -> Printed:
        (scripts / "soup.sql").write_bytes(script)
        lines: list[str] = []

        async def keep(line: str) -> None:
            lines.append(line)

        command = ToolCommand(
            tool="psql",
            args=("-X", "-q", "-f", "soup.sql"),
            work_dir=scripts,
            env={"PGCLIENTENCODING": "UTF8"},
        )
        asyncio.run(run_by_lines(rig.runtime, server, command, keep))
        return Printed(
            markers=[int(marker) for marker in re.findall(r"marker-(\d+)-", "\n".join(lines))],
            astray=any(_ASTRAY.search(line) for line in lines),
            lines=lines,
        )

    try:
        asyncio.run(
            rig.runtime.run(
                server,
                ToolCommand(tool="psql", args=("-f", "-"), work_dir=Path("/"), stdin=_PREPARE),
                _ignore,
            )
        )
        yield run
    finally:
        asyncio.run(rig.runtime.stop(server, clean=False))


async def _ignore(_stream: Stream, _piece: bytes) -> None:
    pass


def _cook(words: list[str]) -> bytes:
    """The fragments as a script, every include of another marker."""
    numbers = iter(range(MARKERS))
    script = b""
    for word in words:
        if "{}" in word and (number := next(numbers, None)) is None:
            break
        script += word.format(f"m{number}.sql").encode() if "{}" in word else word.encode()
    return script


def _found(script: Script) -> list[tuple[int, bool]]:
    """The marked files it includes; a fragment may have become part of a file's name."""
    return [
        (int(marker[1]), part.optional)
        for part in script.segments
        if isinstance(part, Include)
        and (marker := re.fullmatch(r"m(\d+)\.sql", os.path.normpath(part.path)))
    ]


def _is_part_of(part: list[int], whole: list[int]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


@given(words=_SOUP)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
def test_the_includes_found_are_those_that_psql_carries_out(psql: Psql, words: list[str]) -> None:
    text = _cook(words)
    script = scan(text)
    if script.problems:
        return
    printed = psql(text)
    if printed.astray:
        return
    found = _found(script)
    assert _is_part_of(printed.markers, [number for number, _optional in found])
    assert _is_part_of([number for number, optional in found if not optional], printed.markers)


_CONNECT = st.lists(
    st.sampled_from(
        (
            *("-reuse-previous=on", "-reuse-previous=off", "-reuse-previous=1"),
            *("-", '""', "''", ";", "my-shop", "'my-shop'", '"my"-"shop"', "my-shop;", "postgres"),
            *("o\\'brien", "'o''brien'", '"o\'brien"', '"a=b"', '"dbname="', "dbname=my-shop"),
            *("dbname='my-shop'", "\"dbname='my-shop'\"", "'dbname = \\'my-shop\\''"),
            *("\"dbname='a=b'\"", "'dbname= user=postgres'", "user=postgres", '"user=o\\\'brien"'),
            "\"user = 'o\\'brien' dbname=my\\-shop\"",
            *("postgres://", "postgresql://postgres@", "postgresql://o%27brien@/my%2dshop"),
            *("postgresql:///my-shop", "postgres:///a%3Db"),
        )
    ),
    min_size=1,
    max_size=4,
)


@given(words=_CONNECT)
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_connection_that_is_let_pass_leads_where_psql_goes(psql: Psql, words: list[str]) -> None:
    line = f"\\connect {' '.join(words)}".encode()
    expected = target(read_command(Reader(line), 0, len(line)).words)
    if expected is None:
        return
    script = b"\\set ON_ERROR_STOP 1\n\\pset tuples_only\n\\echo port :PORT\n" + line
    script += b"\n\\echo port :PORT\nselect 'at', current_database(), current_user;\n"
    printed = psql(script).lines
    ports = [each for each in printed if each.startswith("port ")]
    places = [each.split("|") for each in printed if each.startswith(" at ")]
    assert set(ports) == {ports[0]}
    for _at, database, user in places:
        assert database.strip() == (expected.database or b"postgres").decode()
        assert user.strip() == (expected.user or b"postgres").decode()


_VALUES = (
    *("1", "-1", "1.5", "'a'", "'it''s'", "'a;'", "E'\\\\i x'", "null", "true", "x", "n", '"Y"'),
    *("t.x", 't."Y"', "t.*", "*", "x::text", "n::int", "'1'::int", "n::numeric(5, 2)", "x || n"),
    *("cast(n as int)", "cast(x as text)", "count(*) over ()", "length(x)", "upper(x)", "now()"),
    *("(select x)", "(n)", "array[x]", "array_length(array[x], 1)", "x = 'a;'", "n + 1", "n - n"),
    *("1 + length(x) * 2", "x is null", "not x = 'a'", "case n when 1 then x else '' end", "t"),
    *(
        "case when true then 1 end",
        "exists (select 1)",
        "coalesce(x, '')",
        "extract(day from now())",
    ),
    *("current_setting('server_version_num')::int >= 120000", "current_user", "trim(x)", "n::text"),
    *("nullif(x, '')", "x is distinct from 'a'", "interval '1' day", "row(x, n)", 'x collate "C"'),
    *(
        "interval '1 day' * 2",
        "date '2020-01-01' - 1",
        "'[1]'::jsonb - 1",
        "('{\"a\":1}'::jsonb)->'a'",
    ),
    *("'a' 'b'", "U&'\\0027'", "$$a;$$", "x in ('a')", "substring(x from 1 for 2)", ":v", ":'v'"),
    *("f.x", "pg_catalog.upper(x)", "lower(x)::text", "-n", "- length(x)", "n between 0 and 2"),
)
_LABELS = (
    "",
    "",
    " as n",
    " n",
    ' as "N;"',
    ' "N"',
    " as from",
    " as select",
    ' as"N"',
    " as x.y",
    " ",
)
_ROW = " from (values ('a;''', 1, '$$')) t (x, n, \"Y\")"
_REST = (
    *(
        "",
        "",
        " where true",
        ' group by x, n, "Y", t',
        " order by 1",
        " limit 1",
        " union select 'b;'",
    ),
    *(
        " union all select ';' where false",
        " intersect select 'a'",
        " for update",
        " -- x\n",
        " /**/",
    ),
)
_HEADS = (
    *(
        "select ",
        "select ",
        "select all ",
        "select distinct ",
        "select distinct on (x) ",
        "SELECT\n",
    ),
    *(
        "with q as (select 1 as z) select ",
        "with recursive q (z) as (select 1) select ",
        "table t --",
    ),
    *(
        "(select ",
        "values (1, 'x;') --",
        "show work_mem --",
        "insert into t values ('a;') returning ",
    ),
    *(
        "select 1 as a \\; select ",
        "explain select ",
        "update t set a = 'b' returning ",
        "select /* ; */ ",
    ),
)
_QUERY = st.tuples(
    st.sampled_from(_HEADS),
    st.lists(
        st.tuples(st.sampled_from(_VALUES), st.sampled_from(_LABELS)).map("".join),
        min_size=1,
        max_size=3,
    ).map(", ".join),
    st.sampled_from((_ROW, _ROW, _ROW, "")),
    st.sampled_from(_REST),
).map("".join)


@given(queries=st.lists(_QUERY, min_size=20, max_size=20))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_a_query_sets_is_bound_or_harmless(psql: Psql, queries: list[str]) -> None:
    scripts = [
        f"begin;\n{query} \\gset p{at}_\n\\r\nrollback;\n" for at, query in enumerate(queries)
    ]
    whole = "\\set v 'x, 1'\n" + "".join(scripts)
    shown = psql(f"{whole}\\set\n".encode()).lines
    found = [variable for line in shown if (variable := re.fullmatch(r"p(\d+)_.* = '(.*)'", line))]
    for variable in found:
        script, name = scripts[int(variable[1])], variable[0].partition(" = ")[0]
        covered = any(
            name.startswith(one.name) if one.prefix else name == one.name
            for one in scan(script.encode()).bindings
        )
        assert covered or is_inert(variable[2]), (script, name, variable[2])
