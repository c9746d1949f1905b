"""Reading scripts: how fast, in what proportion to their length, and what waits for it."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.report import Row
from pgstrata.engine.process import SWITCH_SECONDS
from pgstrata.kinds.psql.inputs import abridge
from pgstrata.kinds.psql.scanner import scan
from pgstrata.kinds.sql.reader import FileText, Text

CHINOOK = Path(__file__).parents[2] / "shared" / "data" / "chinook.sql"
"""A real schema of 600 KB with its data, where it is at hand."""

# Each of these, repeated, would tempt a careless scanner to look back or ahead again and again.
UNITS = (
    *(b"'", b"$a$ $b$ ", b"/* ", b"copy a(", b"e'\\'", b"\\echo a ", b"from stdin ", b"; -- x\n"),
    *(b"copy t from stdin;\n\\.\n", b"\\a", b":", b"((", b"\\i x\n", b"copy ' || ", b"-- x\n"),
    *(b" begin atomic ", b":x \\g ", b"create function ", b"create function $a ", b"create "),
    *(b"copy--", b"copy--\n--", b";copy a(;$ ", b"\n\\", b"copy ',' "),
)
_LARGE = 200_000_000
_TURNS = 8
"""How often the event loop must get the interpreter to answer one request, about."""


def measure() -> list[Row]:
    worst = max(UNITS, key=lambda unit: _scan(unit, 160_000))
    rows = [
        Row(
            what=f"scan of 160 KB of {worst.decode()!r}, the worst of {len(UNITS)}",
            value=_scan(worst, 160_000),
            against="eight times the scan of an eighth of it",
            base=8 * _scan(worst, 20_000),
            limit=2,
        ),
        Row(
            what="    the same in bytes per second",
            value=160 / _scan(worst, 160_000),
            unit="MB/s",
        ),
    ]
    if CHINOOK.exists():
        script = CHINOOK.read_bytes()
        took = _best(lambda: scan(script))
        rows.append(Row(what="scan of chinook.sql, 600 KB", value=took))
        speed = len(script) / took / 1000
        rows.append(Row(what="    the same in bytes per second", value=speed, unit="MB/s"))
    return rows + [
        Row(what=f"longest wait for an answer, {what}", value=wait, limit=50)
        for what, wait in _waits()
    ]


def _scan(unit: bytes, size: int) -> float:
    text = unit * (size // len(unit))
    return _best(lambda: scan(text))


def _best(call: Callable[[], object]) -> float:
    """Milliseconds the fastest of a few calls takes: the least disturbed one."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return min(times)


def _waits() -> Iterator[tuple[str, float]]:
    """How long an event loop is held up at most by a thread that does what a step's plan does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield "with nothing else to do", asyncio.run(_longest_wait(lambda: time.sleep(5)))
        worst = b"".join(unit * (40_000 // len(unit)) + b"\n" for unit in UNITS)
        yield "beside scans of the worst", asyncio.run(_longest_wait(lambda: _read(worst)))
        with _large() as text:
            yield "beside a scan of 200 MB", asyncio.run(_longest_wait(lambda: _read(text)))
    finally:
        sys.setswitchinterval(before)


def _read(text: Text) -> None:
    abridge(scan(text), text)


async def _longest_wait(work: Callable[[], None]) -> float:
    """Milliseconds that as many turns of the event loop took as an answer does."""
    working = asyncio.create_task(asyncio.to_thread(work))
    longest = 0.0
    while not working.done():
        await asyncio.sleep(0.005)
        started = time.perf_counter()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        longest = max(longest, (time.perf_counter() - started) * 1000)
    await working
    return longest


@contextmanager
def _large() -> Iterator[Text]:
    """A script as a dump with INSERTs is, with strings and lines of every length up to 10 MB."""
    line = b"insert into t values (1, 'it''s', N'x', 2.5, E'a\\'b', $a$ $$ $a$, -- z\n 'y');\n"
    with tempfile.TemporaryFile() as file:
        while file.tell() < _LARGE:
            file.write(line * 100_000)
            file.write(b"select '" + b"x" * 10_000_000 + b"';\n\\echo " + b"y" * 900_000 + b"\n")
        file.flush()
        os.sync()
        yield FileText(file.fileno())
