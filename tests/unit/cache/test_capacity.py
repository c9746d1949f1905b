"""What is too full, and which states go: pure decisions, whatever the figures."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.cache.capacity import (
    ABOVE_HIGH,
    BELOW_RESERVE,
    Disk,
    bounds,
    check,
    choose,
    excess,
    pressure,
)
from pgstrata.domain.setting import Share
from pgstrata.domain.sizes import Bytes
from pgstrata.domain.state import HALF_LIFE, State, worth
from pgstrata.errors import InvalidArgumentError
from pgstrata.settings import CacheCapacity

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
GB = 10**9
SIZES = st.integers(min_value=0, max_value=10**13)


def state(
    number: int,
    *,
    size: int | None = 100,
    seconds: float = 1.0,
    uses: int | None = None,
    age: timedelta = timedelta(),
) -> State:
    return State(
        state_id=f"{number:064x}",
        parent_state_id=None,
        image_id="postgres@sha256:" + "1" * 64,
        prepare_kind="psql",
        prepare_args_normalized="",
        created_at=NOON - age,
        size_bytes=size,
        build_seconds=seconds,
        use_count=uses,
        refcount=0,
    )


CANDIDATES = st.lists(st.none() | SIZES, max_size=12).map(
    lambda sizes: [state(number, size=size) for number, size in enumerate(sizes)]
)


def held(states: Sequence[State]) -> int:
    return sum(each.size_bytes or 0 for each in states)


@given(CANDIDATES, SIZES)
def test_what_goes_is_enough_or_all_there_is(candidates: list[State], wanted: int) -> None:
    chosen = choose(candidates, wanted)
    assert held(chosen) >= min(wanted, held(candidates))


@given(CANDIDATES, SIZES)
def test_none_goes_in_vain(candidates: list[State], wanted: int) -> None:
    chosen = choose(candidates, wanted)
    if held(chosen) >= wanted:
        assert all(held(chosen) - (each.size_bytes or 0) < wanted for each in chosen)


@given(CANDIDATES, SIZES)
def test_a_better_one_goes_only_when_all_that_are_worth_less_would_not_do(
    candidates: list[State], wanted: int
) -> None:
    chosen = choose(candidates, wanted)
    if chosen:
        assert held(candidates[: candidates.index(chosen[-1])]) < wanted


def test_nothing_goes_when_nothing_is_wanted() -> None:
    assert choose([state(1)], 0) == ()


@given(
    usage=SIZES,
    total=st.integers(1, 10**13),
    free=SIZES,
    most=st.none() | st.integers(1, 10**13),
    reserve=st.none() | SIZES,
    marks=st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2).map(sorted),
)
def test_whoever_removes_the_excess_is_rid_of_the_pressure(
    usage: int,
    total: int,
    free: int,
    most: Bytes | None,
    reserve: Bytes | None,
    marks: list[Share],
) -> None:
    limits = CacheCapacity(
        max_bytes=most, reserve_bytes=reserve, low_watermark=marks[0], high_watermark=marks[1]
    )
    disk = Disk(total_bytes=total, free_bytes=free)
    within = bounds(limits, disk)
    assert 0 <= within.low_bytes <= within.high_bytes <= within.max_bytes
    assert within.max_bytes == 0 or within.max_bytes + within.reserve_bytes <= total
    surplus = excess(usage, disk, within)
    assert (surplus > 0) == bool(pressure(usage, disk, within))
    after = Disk(total_bytes=total, free_bytes=free + surplus)
    assert pressure(max(0, usage - surplus), after, within) == ()


def test_pressure_says_why() -> None:
    within = bounds(
        CacheCapacity(max_bytes=Bytes(100 * GB), reserve_bytes=Bytes(10 * GB)),
        Disk(total_bytes=500 * GB, free_bytes=0),
    )
    roomy, tight = (Disk(total_bytes=500 * GB, free_bytes=free * GB) for free in (50, 5))
    assert pressure(90 * GB, roomy, within) == ()
    assert pressure(91 * GB, roomy, within) == (ABOVE_HIGH,)
    assert pressure(91 * GB, tight, within) == (ABOVE_HIGH, BELOW_RESERVE)
    assert excess(91 * GB, roomy, within) == 11 * GB
    assert excess(10 * GB, tight, within) == 5 * GB


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.8), (0, 0.5), (0.5, 1.1)])
def test_watermarks_that_contradict_each_other_are_refused(low: float, high: float) -> None:
    with pytest.raises(InvalidArgumentError, match="watermarks") as refusal:
        check(CacheCapacity(low_watermark=Share(low), high_watermark=Share(high)))
    assert refusal.value.remedy


def test_large_and_old_and_unused_and_cheap_states_are_worth_less() -> None:
    plain = worth(state(1, size=10 << 20))
    assert worth(state(2, size=100 << 20)) < plain
    assert worth(state(2, size=10 << 20, age=timedelta(hours=1))) < plain
    assert worth(state(2, size=10 << 20, seconds=0.2)) < plain
    assert worth(state(2, size=10 << 20, uses=1)) > plain


def test_what_is_twice_as_dear_keeps_its_place_for_a_half_life() -> None:
    dear = state(1, size=10 << 20, seconds=20)
    for age, goes_first in ((0.99, False), (1.01, True)):
        cheap = state(2, size=10 << 20, seconds=10)
        old = state(1, size=10 << 20, seconds=20, age=age * HALF_LIFE)
        assert (worth(old) < worth(cheap)) == goes_first
    assert worth(dear) > worth(state(2, size=10 << 20, seconds=10))


def test_a_state_of_no_size_and_no_cost_has_a_worth() -> None:
    assert worth(state(1, size=None, seconds=0)) < worth(state(2, size=None, seconds=1))
