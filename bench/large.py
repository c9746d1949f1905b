"""States of different sizes: what is handed out must not depend on how much is in it.

The largest table of each instance is read before the next is asked for: what a first reader writes
(hint bits) the next pays for, unless the state was settled.
"""

import time
from pathlib import Path

import psycopg

from bench.client import Client
from bench.engine import Engine
from bench.report import Row, median_row

_ROW_BYTES = 8192
_SMALL, _LARGE, _HUGE = 10, 1000, 10_000
"""Megabytes."""
_ROUNDS = 10
_SETTLED_SECONDS = 300.0


def measure(engine: Engine, _place: Path, _rounds: int) -> list[Row]:
    """1 GB against 10 MB."""
    return _compared(engine, _LARGE)


def measure_huge(engine: Engine, _place: Path, _rounds: int) -> list[Row]:
    """10 GB against 10 MB."""
    return _compared(engine, _HUGE)


def _compared(engine: Engine, large: int) -> list[Row]:
    states = {size: _State(engine, size) for size in (_SMALL, large)}
    states[large].settle()
    cold: dict[int, list[float]] = {size: [] for size in states}
    warm: dict[int, list[float]] = {size: [] for size in states}
    for count, times in ((0, cold), (1, warm)):
        for _ in range(_ROUNDS):
            for size, state in states.items():
                times[size].append(state.time_hand_over(count))
    against = f"the same of {_SMALL} MB"
    return [
        median_row(
            f"{how} of a state with {large:,} MB",
            times[large],
            against=against,
            base=times[_SMALL],
            limit=1.2,
        )
        for how, times in (("cached prepare", cold), ("warm hand-over", warm))
    ]


class _State:
    """A state with one table of so many megabytes."""

    def __init__(self, engine: Engine, size: int) -> None:
        rows = size * 10**6 // _ROW_BYTES
        script = engine.script.with_name(f"large-{size}.sql")
        # A row fills a page.
        script.write_text(
            "create table filler (content text);\n"
            "alter table filler alter content set storage plain;\n"
            f"insert into filler select repeat('x', 8000) from generate_series(1, {rows});\n"
        )
        self._client = Client(engine, "-q", "-f", str(script))
        first, _ = self._client.prepare()
        self._id = first["state_id"]
        self._client.remove(first["instance_id"])

    def settle(self) -> None:
        """Have a settled copy made, if the engine makes one for such a state here."""
        self._client.limit(0)
        self.time_hand_over(0)
        until = time.monotonic() + _SETTLED_SECONDS
        while self._client.is_settling(self._id) and time.monotonic() < until:
            time.sleep(0.1)

    def time_hand_over(self, warm: int) -> float:
        """Milliseconds to the answer, with so many servers waiting. The table is read after it."""
        self._client.limit(warm)
        if warm:
            self._client.keep_warm(self._id, warm)
        result, took = self._client.prepare()
        if warm:
            self._client.keep_warm(self._id, 0)
        with psycopg.connect(result["dsn"]) as connection:
            connection.execute("select count(*), max(content) from filler")
        self._client.remove(result["instance_id"])
        return took
