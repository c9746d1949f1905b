"""How many warm servers are worth keeping, and for which states. Pure.

What is asked for again and again is kept in stock: one more server each time that somebody had to
wait, one less whenever a server waited for too long.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from pgstrata.domain.instance import Server


class Make(NamedTuple):
    """What warm servers have in common that can stand for each other."""

    state_id: str
    image_id: str
    settings: tuple[tuple[str, str], ...] = ()
    """The settings of the requests, in the order of their names."""

    @classmethod
    def of(
        cls, state_id: str, image_id: str, settings: Mapping[str, str], engine: Mapping[str, str]
    ) -> Self:
        """``settings`` that are the engine's own make no difference."""
        own = {name: value for name, value in settings.items() if engine.get(name) != value}
        return cls(state_id, image_id, tuple(sorted(own.items())))


class Warm(NamedTuple):
    """A server that waits, paused, on its clone of a state."""

    instance_id: str
    """What it is called once it is handed over."""
    server: Server
    since: float


@dataclass(eq=False)
class Stock:
    """The warm servers of one make, and how many are wanted. Times are of a monotonic clock."""

    make: Make
    said: int = 0
    """How many somebody asked to have."""
    learned: int = 0
    """How many the demand is worth."""
    asked_at: float | None = None
    """When one was asked for last."""
    starting: int = 0
    rests_until: float = 0.0
    """When to try again after one could not be started."""
    waiting: list[Warm] = field(default_factory=list)
    """The newest last."""

    @property
    def wanted(self) -> int:
        return max(self.said, self.learned)

    @property
    def number(self) -> int:
        """How many there are or are about to be."""
        return len(self.waiting) + self.starting

    def ask(self, now: float, idle_seconds: float) -> None:
        """Note that somebody wants one."""
        again = self.asked_at is not None and now - self.asked_at <= idle_seconds
        if again and not self.waiting:
            self.learned += 1
        self.asked_at = now

    def give_up(self, now: float, idle_seconds: float) -> list[Warm]:
        """Take out what is too much, and what has waited for too long unless it was asked for."""
        idle = sum(now - warm.since > idle_seconds for warm in self.waiting)
        self.learned = max(0, min(self.learned, self.number) - idle) if idle else self.learned
        return self.take_oldest(self.number - self.wanted)

    def take_oldest(self, number: int) -> list[Warm]:
        """Take out so many, or all there are."""
        number = max(0, min(number, len(self.waiting)))
        taken, self.waiting = self.waiting[:number], self.waiting[number:]
        return taken


def next_to_start(stocks: Iterable[Stock], now: float) -> Stock | None:
    """The stock that lacks a server and was asked for last; those that were told of come first."""
    lacking = [one for one in stocks if one.number < one.wanted and one.rests_until <= now]
    return max(lacking, key=_urgency, default=None)


def least_wanted(stocks: Iterable[Stock], than: Stock) -> Stock | None:
    """The stock to take a waiting server from in favour of another, if there is one."""
    others = [one for one in stocks if one.waiting and _urgency(one) < _urgency(than)]
    return min(others, key=_urgency, default=None)


def _urgency(stock: Stock) -> tuple[bool, float]:
    return stock.number < stock.said or bool(stock.said and stock.waiting), stock.asked_at or 0.0
