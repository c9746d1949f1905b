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
from pgstrata.kinds.psql.script import Include, Script
from pgstrata.kinds.sql.reader import Reader
from pgstrata.runtime.base import ToolCommand, run_by_lines
from pgstrata.system.output import Stream
from tests.clusters import NativeRig, no_server_left

MARKERS = 12
_FRAGMENTS = (
    *("'", '"', "$$", "$a$", "$b", "$1", "E'", "e'", "\\'", "''", "U&'", "x'", "n'", "a$", "1$$"),
    *("--", "/*", "*/", "*", "/", "-", "\n", "\n", "\n", "\r", "\r\n", "\t", " ", " "),
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
    scope="module", params=["10", "13", "15", pytest.param("17", marks=pytest.mark.slow), "18"]
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
