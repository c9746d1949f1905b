"""What was measured, and how it is shown."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison: what it took, beside what it is measured against."""

    what: str
    value: float
    """Milliseconds, or what ``unit`` says."""
    against: str | None = None
    base: float | None = None
    limit: float | None = None
    """The most that ``value / base`` may be, or ``value`` itself where there is no base."""
    unit: str = "ms"

    @property
    def figure(self) -> float:
        """What the limit is for."""
        return self.value if self.base is None else self.value / self.base

    @property
    def within(self) -> bool:
        return self.limit is None or self.figure <= self.limit


def timed(work: Callable[[], object]) -> float:
    """How long a call takes, in milliseconds."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    print(f"{'':52} {'value':>10} {'base':>10} {'ratio':>7} {'limit':>6}")
    for row in rows:
        value = f"{row.value:.1f} {row.unit}"
        base = "" if row.base is None else f"{row.base:.1f} {row.unit}"
        ratio = "" if row.base is None else f"{row.figure:.2f}"
        limit = "" if row.limit is None else f"{row.limit:g} {'ok' if row.within else 'OVER'}"
        print(f"{row.what:52} {value:>10} {base:>10} {ratio:>7} {limit:>6}")
        if row.against:
            print(f"{'':4}against {row.against}")
