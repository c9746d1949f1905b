"""What a scan costs: in proportion to the script's length, whatever the script, in small steps.

Calls and bytes are counted, so that neither the machine nor its load matters.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgstrata.kinds.psql import findings
from pgstrata.kinds.psql.scanner import scan
from pgstrata.kinds.psql.script import Include, Script
from pgstrata.kinds.sql import reader
from pgstrata.kinds.sql.reader import MARGIN, WINDOW, FileText, StringText
from tests.psql_scripts import scripts

CALLS_PER_BYTE = 80
"""Seen: 52 at the most, for scripts of nothing but backslash commands of two bytes."""
READS_PER_BYTE = 12
"""Seen: 8 at the most. Each byte is read as script, as SQL to search, in whole and so on."""
LARGEST_READ = 1 << 20

# Each of these, repeated, would tempt a careless scanner to look back or ahead again and again.
UNITS = (
    *(b"'", b'"', b"e'", b"e'\\'", b"e''\r", b"e'' --\r", b"n'x'", b"$", b"$$", b"$a$ $b$ ", b"a$"),
    *(b"$1", b"1a'", b"1.", b"a.", b"a&", b"\xc3\xa9'", b"/*", b"/* */", b"*/", b"-- x\n", b"--"),
    *(b"copy--", b"copy--\n--", b"copy ", b"copy.", b"copy .", b"copy a . ", b'copy"', b'copy "'),
    *(b"copy a(", b"copy(;", b";copy a(;", b";copy a(;$ ", b";copy a from stdin", b"copy ' || "),
    *(b"copy ',' ", b"'copy ' || t || ", b"copy t from $aaaa", b"copy t from 'x' ", b";copy a;"),
    *(b"copy t from stdin;\n\\.\n", b"; copy t from stdin; x\n", b"from stdin ", b"from -- x\n"),
    *(b"; -- x\n", b";", b"create ", b"create or ", b"create or replace ", b"create function "),
    *(
        b"create function $a ",
        b"create function(;",
        b" begin atomic ",
        b"create function f() begin",
    ),
    *(b"wrapper--", b"wrapper/*", b"names-", b"names '", b"client_encoding to ", b"pg_ls_dir "),
    *(b"standard_conforming_strings = ", b"standard_conforming_strings ", b":x:y", b"::", b":"),
    *(b"\\a", b"\\echo a ", b"\\echo '", b'\\echo "', b"\\echo `", b"\\\\", b"\\;", b"\\if 1\n"),
    *(b"\\i x\n", b"\\i 'a", b"\\set x 'y' ", b"\\set x copy", b"\\copy (", b"\\copy t from x\n"),
    *(b"\\gset p\n", b":x \\g ", b"\\cd\n", b"\\q\n", b"\\! x\n", b"\\h", b":'PORT' ", b"\\.\n"),
    *(b"\r", b"\n", b"\n\\", b"\t\v", b"a", b"1", b"((", b"stdin /* /* */ */"),
    *(b"select 'pg_ls_dir';", b"grant pg_ls_dir;", b"do $$--pg_ls_dir\n$$;", b"insert((('copy"),
    *(b"select a, 1+b as c \\gset\n", b"select 1,1,1\\gset ", b'select ,"",-()::a\\gset\n'),
)
NUMBERED = (b"$t%d$ ", b":v%d ", b"\\gset p%d\n", b"\\set v%d :x\n:v%d ", b"'%d' copy t%d(")


@dataclass
class CountedText:
    """A script that counts what is read of it."""

    content: bytes
    read: int = 0
    largest: int = 0

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, where: slice, /) -> bytes:
        piece = self.content[where]
        self.read += len(piece)
        self.largest = max(self.largest, len(piece))
        return piece


def _calls(work: Callable[[], object]) -> int:
    """How many calls, of Python's functions and of C's, it takes."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def _repeated(unit: bytes, length: int) -> bytes:
    return unit * (length // len(unit) + 1)


def _numbered(unit: bytes, length: int) -> bytes:
    text, number = b"", 0
    while len(text) < length:
        text += unit.replace(b"%d", b"%d" % number)
        number += 1
    return text


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("end", [b"", b" $ "])
def test_calls_are_in_proportion_to_the_length(unit: bytes, end: bytes) -> None:
    for length in (500, 3000):
        text = _repeated(unit, length) + end
        assert _calls(lambda text=text: scan(text)) < 2000 + CALLS_PER_BYTE * len(text)  # type: ignore[misc]


@pytest.mark.parametrize("unit", NUMBERED)
def test_calls_are_in_proportion_to_the_length_where_nothing_is_repeated(unit: bytes) -> None:
    for length in (500, 3000):
        text = _numbered(unit, length)
        assert _calls(lambda text=text: scan(text)) < 2000 + CALLS_PER_BYTE * len(text)  # type: ignore[misc]


@given(seed=st.integers(0, 2**32), ends=st.booleans())
@settings(max_examples=40, deadline=None)
def test_calls_are_in_proportion_to_the_length_of_any_soup(seed: int, ends: bool) -> None:
    [unit] = scripts(seed, 1)
    text = _repeated(unit + b"\n" * ends, 3000)
    assert _calls(lambda: scan(text)) < 2000 + CALLS_PER_BYTE * len(text)


@pytest.mark.parametrize(
    "unit",
    [
        *(
            b"'",
            b"e'' --\r",
            b"$a$ $b$ ",
            b"/*",
            b"copy--",
            b"copy a(",
            b";copy a(;",
            b";copy a(;$ ",
        ),
        *(
            b"create function $a ",
            b"create -- x\n",
            b"from -- x\n",
            b"\\echo a ",
            b"\\echo '",
            b"a",
        ),
        *(b"\\h", b"copy t from stdin;\n\\.\n", b"'copy ' || t || ", b"1a'", b"\\i x\n", b"-- x\n"),
    ],
)
def test_each_byte_is_read_a_few_times_and_few_at_once(unit: bytes) -> None:
    text = CountedText(_repeated(unit, 2 * WINDOW))
    scan(text)
    assert text.read < READS_PER_BYTE * len(text)
    assert text.largest <= LARGEST_READ


@pytest.mark.parametrize(
    "beginning",
    [
        *(b"'", b'"', b"$a$", b"/*", b"--", b":", b"a", b"1", b"e'", b"copy ", b"\\copy t from '"),
        *(b"\\echo '", b"\\i ", b"\\h ", b"\\", b"$", b"create function ", b"\\set x '", b"copy "),
        *(
            b"copy t from stdin;\n",
            b"standard_conforming_strings ",
            b"set names ",
            b"\\g",
            b"e''\r",
        ),
    ],
)
@pytest.mark.parametrize("rest", [b"a", b" ", b"'x", b"\\x "])
def test_what_goes_on_for_long_is_looked_at_in_pieces(beginning: bytes, rest: bytes) -> None:
    text = CountedText(
        beginning + rest * ((1 << 21) // len(rest) if rest in (b"a", b" ") else 9000)
    )
    scan(text)
    assert text.read < READS_PER_BYTE * len(text) + 2 * LARGEST_READ
    assert text.largest <= LARGEST_READ


@pytest.mark.parametrize(
    ("unit", "named"),
    [(b"\\cd x\n", "refers"), (b"\\gset p%d\n", "are set"), (b":v%d ", "are used")],
)
def test_a_script_of_more_parts_than_anyone_writes_is_a_problem(
    unit: bytes, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "MOST", 50)
    parts = (unit.replace(b"%d", b"%d" % number) for number in range(52))
    script = scan(b"".join(parts))
    assert script.problems
    assert all(named in problem.what for problem in script.problems)


def test_of_very_many_problems_only_the_first_are_told() -> None:
    assert len(scan(b"\\! date\n" * 5000).problems) == 1000


def test_a_command_of_more_than_a_mebibyte_is_a_problem() -> None:
    for command in ("\\echo", "\\copy t from"):
        text = f"select 1;\n{command} {'x' * LARGEST_READ}\n\\i a"
        script = scan(text.encode())
        [problem] = script.problems
        assert problem.line == 2
        assert problem.what == f"{command.split()[0]} is longer than 1 MiB"
        assert [part.path for part in script.segments if isinstance(part, Include)] == ["a"]


def _moved(script: Script, bytes_: int) -> Script:
    """The same script with so many bytes more in front."""
    first, *parts = script.segments
    moved = (part._replace(start=part.start + bytes_, end=part.end + bytes_) for part in parts)
    return replace(script, segments=(first._replace(end=first.end + bytes_), *moved))


SENSITIVE = (
    b"acopy, xfrom stdin, e'\\'' from a$b$ 1 $b$::x, :x -- y\n/* /* z */ */ 'it''s' $a$ ' $a$\n",
    b";copy t from stdin;\n1\n\\.\n\\i a\n;create function f() begin atomic ;end;\n\\ir b 'c' :d\n",
    b"1a'', e'' -- \r'' copy a from 'x'; wrapper file_fdw, names 'sjis', :'PORT' \\set a 'b;'\n",
)


@pytest.mark.parametrize("text", SENSITIVE)
@pytest.mark.parametrize("filler", [b" ", pytest.param(b"x ", marks=pytest.mark.slow)])
def test_where_windows_end_changes_nothing(text: bytes, filler: bytes) -> None:
    for edge in (WINDOW - MARGIN, WINDOW):
        for before in range(-len(text) - 20, 20):
            pad = (edge + before) // 2 * 2
            script = scan(b"-" * (before % 2) + filler * (pad // len(filler)) + text)
            alone = scan(b"-" * (before % 2) + filler * (20 // len(filler)) + text)
            assert script == _moved(alone, pad - 20)


@pytest.mark.parametrize("block", [1 << 20, 1000])
def test_a_file_is_read_as_its_bytes_are(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BLOCK", block)
    content = "".join(f"insert into t values ({n}, 'é{n}');\n\\i f{n}\n" for n in range(5000))
    file = tmp_path / "script.sql"
    file.write_text(content)
    with file.open("rb") as opened:
        assert scan(FileText(opened.fileno())) == scan(content.encode())
    assert scan(StringText(content)) == scan(content.encode())


def test_any_part_of_a_file_can_be_read_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_BLOCK", 10)
    content = bytes(range(95))
    file = tmp_path / "script.sql"
    file.write_bytes(content)
    with file.open("rb") as opened:
        text = FileText(opened.fileno())
        for start in range(0, 95, 7):
            for length in (0, 1, 9, 10, 11, 60):
                assert text[start : start + length] == content[start : start + length]
                assert text[-start:] == content[-start:]


def test_a_file_cut_short_while_it_is_read_is_read_to_its_former_end(tmp_path: Path) -> None:
    file = tmp_path / "script.sql"
    file.write_bytes(b"x" * 1000)
    with file.open("rb") as opened:
        text = FileText(opened.fileno())
        file.write_bytes(b"y" * 10)
        assert text[0:1000] == b"y" * 10 + bytes(990)
