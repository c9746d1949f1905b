"""Reading scripts: a real one, and that no script makes the time grow faster than its length."""

import time
from collections.abc import Callable
from pathlib import Path

from bench.report import Row
from pgstrata.kinds.psql.scanner import scan

CHINOOK = Path(__file__).parents[2] / "shared" / "data" / "chinook.sql"
"""A real schema of 600 KB with its data, where it is at hand."""

# Each of these, repeated, would tempt a careless scanner to look back or ahead again and again.
UNITS = (
    *(b"'", b"$a$ $b$ ", b"/* ", b"copy a(", b"e'\\'", b"\\echo a ", b"from stdin ", b"; -- x\n"),
    *(b"copy t from stdin;\n\\.\n", b"\\a", b":", b"((", b"\\i x\n", b"copy ' || ", b"-- x\n"),
    *(b" begin atomic ", b":x \\g ", b"create function ", b"create function $a ", b"create "),
)


def measure() -> list[Row]:
    worst = max(UNITS, key=lambda unit: _scan(unit, 160_000) / _scan(unit, 20_000))
    rows = [
        Row(
            what=f"scan of 160 KB of {worst.decode()!r}, the worst of {len(UNITS)}",
            value=_scan(worst, 160_000),
            against="eight times the scan of an eighth of it",
            base=8 * _scan(worst, 20_000),
            limit=2,
        )
    ]
    if CHINOOK.exists():
        script = CHINOOK.read_bytes()
        rows.append(Row(what="scan of chinook.sql, 600 KB", value=_best(lambda: scan(script))))
    return rows


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
