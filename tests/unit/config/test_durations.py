"""Lengths of time as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.config.durations import parse, parse_positive


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), (" 5m ", 300), ("0", 0)],
)
def test_a_number_with_its_unit_is_seconds(text: str, seconds: int) -> None:
    assert parse(text) == seconds


@given(st.integers(min_value=0), st.sampled_from(["s", "m", "h", "d"]))
def test_units_are_sixty_sixty_and_twenty_four(number: int, unit: str) -> None:
    smaller = {"s": (1, ""), "m": (60, "s"), "h": (60, "m"), "d": (24, "h")}
    times, below = smaller[unit]
    assert parse(f"{number}{unit}") == parse(f"{number * times}{below}")


@pytest.mark.parametrize("text", ["", "s", "-5", "1.5h", "5w", "1h30m", "٣s"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        parse(text)


def test_no_time_at_all_may_be_refused_too() -> None:
    with pytest.raises(ValueError, match="no time at all"):
        parse_positive("0m")
