"""Which events a range stands for."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.httpapi.ranges import EventRange, Window, parse_range


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("events=10-", EventRange(10, None)),
        ("events=10-24", EventRange(10, 24)),
        ("events=7-7", EventRange(7, 7)),
        ("events=-5", EventRange(None, 5)),
        (" Events=0- ", EventRange(0, None)),
    ],
)
def test_a_range_is_understood(header: str, wanted: EventRange) -> None:
    assert parse_range(header) == wanted


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "events",
        "events=",
        "events=-",
        "events=a-b",
        "events=5-2",
        "events=0-1,5-6",
        "events=1 - 2",
        "events=+1-2",
        "events=\u0661-\u0662",
        "events=" + "9" * 5000 + "-",
        "bytes=0-10",
    ],
)
def test_what_is_no_single_range_of_events_is_ignored(header: str | None) -> None:
    assert parse_range(header) is None


@pytest.mark.parametrize(
    ("wanted", "window"),
    [
        (EventRange(10, 24), Window(10, 24, "events 10-24/100")),
        (EventRange(10, None), Window(10, 99, "events 10-99/100")),
        (EventRange(90, 500), Window(90, 99, "events 90-99/100")),
        (EventRange(None, 5), Window(95, 99, "events 95-99/100")),
        (EventRange(None, 500), Window(0, 99, "events 0-99/100")),
        (EventRange(100, None), None),
        (EventRange(100, 200), None),
        (EventRange(None, 0), None),
    ],
)
def test_a_range_of_a_finished_job_is_cut_to_what_there_is(
    wanted: EventRange, window: Window | None
) -> None:
    assert wanted.window(100, finished=True) == window


@pytest.mark.parametrize(
    ("wanted", "window"),
    [
        (EventRange(10, 24), Window(10, 24, "events 10-24/*")),
        (EventRange(10, 240), Window(10, 240, "events 10-240/*")),
        (EventRange(10, None), Window(10, None, "events 10-99/*")),
        (EventRange(100, None), Window(100, None, "events 100-100/*")),
        (EventRange(None, 5), Window(95, None, "events 95-99/*")),
        (EventRange(None, 0), Window(100, None, "events 100-100/*")),
    ],
)
def test_a_range_of_a_running_job_may_reach_into_what_is_to_come(
    wanted: EventRange, window: Window
) -> None:
    assert wanted.window(100, finished=False) == window


@given(
    first=st.none() | st.integers(0, 50),
    length=st.none() | st.integers(0, 50),
    count=st.integers(1, 60),
    finished=st.booleans(),
)
def test_what_is_said_of_a_range_is_well_formed_and_true(
    first: int | None, length: int | None, count: int, finished: bool
) -> None:
    last = length if first is None or length is None else first + length
    window = EventRange(first, last or 0 if first is None else last).window(
        count, finished=finished
    )
    if window is None:
        assert finished
        return
    said = re.fullmatch(r"events (\d+)-(\d+)/(\d+|\*)", window.content_range or "")
    assert said is not None
    assert int(said[1]) == window.first <= int(said[2])
    assert said[3] == (str(count) if finished else "*")
    if finished:
        assert int(said[2]) == window.last
        assert window.last < count
