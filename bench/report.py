"""What was measured, and how it is shown: as a table, and as JSON for programs."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: what it took, beside what it is measured against."""

    what: str
    value: float
    """Milliseconds, or what ``unit`` says."""
    spread: tuple[float, float] | None = None
    """The quartiles of what ``value`` is the median of."""
    against: str | None = None
    base: float | None = None
    limit: float | None = None
    """The most that ``value / base`` may be, or ``value`` itself where there is no base."""
    least: bool = False
    """Whether ``limit`` is the least in place of the most."""
    unit: str = "ms"

    @property
    def figure(self) -> float:
        """What the limit is for."""
        return self.value if self.base is None else self.value / self.base

    @property
    def within(self) -> bool:
        if self.limit is None:
            return True
        return self.figure >= self.limit if self.least else self.figure <= self.limit


def median_row(
    what: str,
    samples: Sequence[float],
    *,
    against: str | None = None,
    base: Sequence[float] | None = None,
    limit: float | None = None,
) -> Row:
    """The medians of what was measured in turns, in milliseconds."""
    return Row(
        what=what,
        value=statistics.median(samples),
        spread=quartiles(samples),
        against=against,
        base=None if base is None else statistics.median(base),
        limit=limit,
    )


def quartiles(samples: Sequence[float]) -> tuple[float, float] | None:
    """Between what half of the samples lie; None for fewer than three."""
    if len(samples) < 3:
        return None
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, high


def p95(samples: Sequence[float]) -> float:
    """What 95 of 100 samples are below."""
    return sorted(samples)[int(len(samples) * 0.95)]


def timed(work: Callable[[], object]) -> float:
    """How long a call takes, in milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one part of the bench measured in one place."""

    name: str
    place: str
    """The file system, how snapshots are made there, and the PostgreSQL."""
    seconds: float
    """How long it took."""
    rows: Sequence[Row]


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the bench."""

    machine: dict[str, str]
    """What it was made on, in words."""
    seconds: float
    sections: Sequence[Section]

    @property
    def over(self) -> int:
        """How many figures are beyond their limits."""
        return sum(not row.within for section in self.sections for row in section.rows)


_HEAD = ("", "VALUE", "HALF OF THEM", "BASE", "RATIO", "LIMIT", "")


def show(run: Run) -> None:
    """Print a run as a table."""
    for name, text in run.machine.items():
        print(f"{name}: {text}")
    for section in run.sections:
        print(f"\n{section.name}: {section.place} ({section.seconds:.0f} s)")
        _print_columns([_HEAD, *lines(section.rows)])
    limits = sum(row.limit is not None for section in run.sections for row in section.rows)
    print(f"\n{limits - run.over} of {limits} limits kept; {run.seconds / 60:.1f} minutes")


def lines(rows: Iterable[Row]) -> list[tuple[str, ...]]:
    """The cells of rows; what a row is measured against, unless the one above says so, is one."""
    found: list[tuple[str, ...]] = []
    against = None
    for row in rows:
        found.append(
            (
                row.what,
                _number(row.value, row.unit),
                "" if row.spread is None else " to ".join(map(_plain, row.spread)),
                "" if row.base is None else _number(row.base, row.unit),
                "" if row.base is None else f"{row.figure:.2f}",
                _limit(row),
                "" if row.within else "MISSED",
            )
        )
        if row.against and row.against != against:
            found.append((f"    against {row.against}",))
        against = row.against
    return found


def as_json(run: Run) -> bytes:
    """A run for programs: what is shown, and each ratio."""
    rows = [
        {
            "part": section.name,
            "place": section.place,
            **msgspec.to_builtins(row),
            "figure": round(row.figure, 4),
            "within": row.within,
        }
        for section in run.sections
        for row in section.rows
    ]
    parts = {f"{one.name}, {one.place}": round(one.seconds, 1) for one in run.sections}
    about = {"machine": run.machine, "seconds": round(run.seconds, 1), "parts": parts}
    return msgspec.json.format(msgspec.json.encode({**about, "rows": rows}))


def from_json(data: bytes) -> Run:
    """The run that was written by ``as_json``."""
    found = msgspec.json.decode(data)
    sections: dict[tuple[str, str], list[Row]] = {}
    for row in found["rows"]:
        where = row.pop("part"), row.pop("place")
        del row["figure"], row["within"]
        sections.setdefault(where, []).append(msgspec.convert(row, Row))
    return Run(
        machine=found["machine"],
        seconds=found["seconds"],
        sections=[
            Section(name=name, place=place, seconds=found["parts"][f"{name}, {place}"], rows=rows)
            for (name, place), rows in sections.items()
        ],
    )


def _limit(row: Row) -> str:
    if row.limit is None:
        return ""
    sign = ">=" if row.least else "<="
    text = f"{row.limit:.3g}"
    return f"{sign} {text}" if row.base is not None else f"{sign} {text} {row.unit}"


def _number(value: float, unit: str) -> str:
    return f"{_plain(value)} {unit}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 10 else f"{value:.1f}"


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    whole = [row for row in rows if len(row) > 1]
    widths = [max(len(row[column]) for row in whole) for column in range(len(_HEAD))]
    for row in rows:
        first, *others = row
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False)]
        print("  ".join([f"{first:<{widths[0]}}", *cells]).rstrip())
