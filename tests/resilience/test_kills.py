"""The engine is killed at every fault point there is, and each time goes on as if nothing was.

Each scenario is done once with a trace, to learn which points it comes by and how often. Then, for
each of them, it is done again by an engine that dies there; the next engine must bring it to the
same end, and leave nothing else behind. A second pass kills that next engine too, at each point it
comes by while it recovers.
"""

import itertools
import traceback
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgstrata.system import faults
from tests import needs
from tests.resilience.kills import (
    SCENARIOS,
    Build,
    Case,
    Chain,
    Cold,
    Kill,
    Scenario,
    Start,
    Stop,
    after_common_beginning,
    moments,
    until_it_answers,
)

CHAINS = 2
"""How many engines are killed side by side. Each has a store, which takes seconds to set up."""

WORTH_A_CHAIN = 10
"""For how many kills it is worth that."""

Traces = dict[type[Scenario], list[str]]

TWICE: tuple[tuple[type[Scenario], Kill], ...] = (
    (Cold, Kill("initdb.before", 1)),
    (Build, Kill("statefs.make_volume.after", 1)),
    (Build, Kill("store.add_state.before", 2)),
    (Build, Kill("store.add_instance.after", 1)),
)
"""The kills after which a recovery is killed too: each leaves other things to clear away. The first
is left out where not every moment is tried, for its recovery comes by no other steps; and one
backend is enough there."""

BESIDE_PREPARES = frozenset(
    {
        "adoption.begin",
        "adoption.end",
        "database.checkpoint",
        "database.vacuum",
        "locks.remove",
        "reserve.give_up",
        "server.let_in",
        "server.settle",
        "statefs.content.write",
        "statefs.upgrade",
        "store.extend",
        "store.record_eviction",
        "store.pin",
        "store.remove_instance",
        "store_image.mount",
        "store_image.remove",
        "store_image.resize",
        "store_image.show",
    }
)
"""Steps that no scenario here comes by: what an earlier version left, leases, pins, evictions,
undoing an instance, checking contents, a lost database, one that lets nobody in, settled copies, a
store's own btrfs, much history, and a full disk."""

COME_BY_AT_TIMES = frozenset({"instance_note.waiting"})
"""A server is kept warm in the background, when there is time."""

backends: set[str] = set()
reached: set[str] = set()
"""The steps that traces came by, over all backends."""
tried: set[str] = set()
"""The steps at which one kill was tried, over all backends, where not every moment is."""


at_every_moment = pytest.mark.parametrize(
    "every_moment", [False, pytest.param(True, marks=pytest.mark.slow)]
)
"""A step is come by many times, in several scenarios and with each backend: one kill, before it or
after it, with the first backend that comes by, is enough for most runs of the tests."""


@at_every_moment
@pytest.mark.parametrize("backend", ["overlay", "copy"])
def test_no_kill_in_the_middle_of_files_loses_or_leaves_anything(
    backend: str, every_moment: bool, reachable_dir: Path, tally: Callable[[str], None]
) -> None:
    if backend == "overlay" and not needs.IS_ROOT:
        needs.missing_root("only root can mount")
    survive_all(backend, reachable_dir, tally, of="statefs.", every_moment=every_moment)


@at_every_moment
def test_no_kill_on_btrfs_loses_or_leaves_anything(
    every_moment: bool, btrfs_dir: Path, tally: Callable[[str], None]
) -> None:
    survive_all("btrfs", btrfs_dir, tally, of="", every_moment=every_moment)


def test_every_step_of_a_prepare_was_come_by() -> None:
    if len(backends) < 3:
        if not needs.IS_ROOT:
            needs.missing_root("only root can mount all backends' file systems")
        pytest.skip("needs the traces of all backends")
    assert faults.STEPS - reached - COME_BY_AT_TIMES == BESIDE_PREPARES


def survive_all(
    backend: str, directory: Path, tally: Callable[[str], None], *, of: str, every_moment: bool
) -> None:
    """Kill and recover at all points whose names begin with ``of``, at each moment or at one."""
    some = not every_moment
    with chain(directory, backend) as one:
        # Most have nothing to do with files, and are tried with one backend.
        scenarios = (Cold, Build) if of and some else SCENARIOS
        killed_twice = TWICE if every_moment else () if tried else TWICE[1:]
        traces: Traces = {scenario: one.trace(scenario) for scenario in scenarios}
        restart = one.trace_recovery(Stop, Kill("engine_json.remove.before", 1))
        recoveries = [one.trace_recovery(scenario, kill) for scenario, kill in killed_twice]
    backends.add(backend)
    for trace in (*traces.values(), *recoveries):
        reached.update(point.rpartition(".")[0] for point in trace)
    once = list(cases(traces))
    twice = [
        Case(scenario, kill, again)
        for (scenario, kill), points in zip(killed_twice, recoveries, strict=True)
        for again in moments(
            points, after_common_beginning(points, restart), until_it_answers(points)
        )
    ]
    once = [case for case in once if case.kill.point.startswith(of)]
    if of:  # the snapshot backend is tried in the same way whichever it is
        once = [case for case in once if case.scenario is not Start]
    if every_moment:
        twice = [case for case in twice if case.again and case.again.point.startswith(of)]
    else:
        once, twice = by_step(once, but=tried), by_step(twice)
        tried.update(case.kill.step for case in once)
    survived, failures = survive(directory, backend, [*once, *twice])
    points = {kill.point for case in (*once, *twice) for kill in case[1:] if kill is not None}
    tally(
        f"{backend}: {survived} kills survived, {len(twice)} of them while recovering, at "
        f"{len(points)} fault points; {len(once) + len(twice) - survived - len(failures)} never "
        f"came about; {len(failures)} went wrong"
    )
    assert not failures, f"{len(failures)} went wrong:\n\n" + "\n\n".join(failures)
    assert survived >= 0.9 * (len(once) + len(twice))


def cases(traces: Traces) -> Iterator[Case]:
    """A kill for each moment; of a store's first job, for those that a later one does not meet."""
    for scenario, points in traces.items():
        begin, end = 0, len(points)
        if scenario is Cold:
            begin = after_common_beginning(points, traces[Build])
            end = begin + len(points) - len(traces[Build])
        yield from (Case(scenario, kill) for kill in moments(points, begin, end))


def by_step(cases: Iterable[Case], *, but: Container[str] = ()) -> list[Case]:
    """One case for each other step, killed before it and after it by turns."""
    steps: dict[str, dict[str, Case]] = {}
    for case in cases:
        last = case.again or case.kill
        if last.step not in but:
            steps.setdefault(last.step, {})[last.point] = case
    return [
        list(found.values())[number % len(found)] for number, found in enumerate(steps.values())
    ]


def survive(directory: Path, backend: str, todo: Sequence[Case]) -> tuple[int, list[str]]:
    """How many cases' kills were survived, and what went wrong in the others."""
    left = deque(todo)
    failures: list[str] = []

    def work(_number: int) -> int:
        survived = 0
        case = next_of(left)
        while case is not None:
            with chain(directory, backend) as one:
                while case is not None:
                    this, case = case, next_of(left)
                    try:
                        survived += one.survive(this, case)
                    except Exception:  # noqa: BLE001 - all that goes wrong is told at the end
                        failures.append(f"{this}:\n{traceback.format_exc(limit=-3)}")
                        break  # the next gets a store that nothing is wrong with
        return survived

    chains = min(CHAINS, -(-len(todo) // WORTH_A_CHAIN))
    with ThreadPoolExecutor(CHAINS) as threads:
        return sum(threads.map(work, range(chains))), failures


def next_of(left: deque[Case]) -> Case | None:
    """The next case, if any is left."""
    try:
        return left.popleft()
    except IndexError:
        return None


_numbers = itertools.count()


@contextmanager
def chain(directory: Path, backend: str) -> Iterator[Chain]:
    one = Chain(directory / f"chain-{next(_numbers)}", backend)
    try:
        yield one
    finally:
        one.close()
