"""Lengths of time, read as people write them and written for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.domain.durations import LONGEST, measured, parse, parse_positive, write


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), (" 5m ", 300), ("0", 0)],
)
def test_a_number_with_its_unit_is_seconds(text: str, seconds: int) -> None:
    assert parse(text) == seconds


@given(st.integers(0, 10_000), st.sampled_from(["s", "m", "h", "d"]))
def test_units_are_sixty_sixty_and_twenty_four(number: int, unit: str) -> None:
    smaller = {"s": (1, ""), "m": (60, "s"), "h": (60, "m"), "d": (24, "h")}
    times, below = smaller[unit]
    assert parse(f"{number}{unit}") == parse(f"{number * times}{below}")


@pytest.mark.parametrize("text", ["", "s", "-5", "1.5h", "5w", "1h30m", "٣s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse(text)


def test_ten_thousand_days_are_the_longest_there_are() -> None:
    assert parse("10000d") == parse(f"{'0' * 5000}{LONGEST}") == LONGEST


@pytest.mark.parametrize("text", ["10001d", "864000001", "9" * 19 + "s", "9" * 5000 + "h"])
def test_what_is_longer_is_refused_with_the_bound(text: str) -> None:
    with pytest.raises(ValueError, match="too long; give at most 10000d"):
        parse(text)


def test_no_time_at_all_may_be_refused_too() -> None:
    with pytest.raises(ValueError, match="too short"):
        parse_positive("0m")


@pytest.mark.parametrize(
    ("seconds", "written"), [(0, "0s"), (90, "90s"), (600, "10m"), (7200, "2h"), (172800, "2d")]
)
def test_a_length_of_time_is_written_in_the_largest_unit_that_fits(
    seconds: int, written: str
) -> None:
    assert write(seconds) == written


@given(st.integers(0, LONGEST))
def test_what_is_written_is_read_as_exactly_the_same(seconds: int) -> None:
    assert parse(write(seconds)) == seconds


@pytest.mark.parametrize(
    ("amount", "written"), [(0.0123, "12 ms"), (0.84, "0.8 s"), (125.9, "2 min 5 s")]
)
def test_short_times_are_measured(amount: float, written: str) -> None:
    assert measured(amount) == written
