"""When a server may stay up for a snapshot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgstrata.prepare.consistency import Situation, reason_to_stop, settings_changed
from pgstrata.settings import Consistency

HARMLESS = Situation(last=False, can_clone_live=True, lost=None, settings_changed=False)


def test_between_steps_it_stays_up_where_nothing_is_lost_by_that() -> None:
    assert reason_to_stop("auto", HARMLESS) is None


def test_after_the_last_step_it_is_stopped_unless_that_is_not_wanted() -> None:
    last = replace(HARMLESS, last=True)
    assert reason_to_stop("auto", last) is not None
    assert reason_to_stop("crash", last) is None


def test_what_would_be_lost_is_named() -> None:
    reason = reason_to_stop("auto", replace(HARMLESS, lost="unlogged relation 16384 of 5"))
    assert reason == "unlogged relation 16384 of 5 would not survive a crash"


@pytest.mark.parametrize(
    "obstacle", [{"can_clone_live": False}, {"lost": "something"}, {"settings_changed": True}]
)
@given(last=st.booleans(), wanted=st.sampled_from(["auto", "crash"]))
def test_no_wish_overrides_an_obstacle(
    obstacle: dict[str, object], last: bool, wanted: Consistency
) -> None:
    assert reason_to_stop(wanted, replace(HARMLESS, last=last, **obstacle)) is not None


@given(last=st.booleans())
def test_who_wants_clean_states_gets_them(last: bool) -> None:
    assert reason_to_stop("clean", replace(HARMLESS, last=last)) is not None


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (b"", b"# written by ALTER SYSTEM\nwork_mem = '1MB'\n", ["work_mem"]),
        (b"a = '1'\nb = '2'\n", b"b = '3'\nc.d = '4'\n", ["a", "b", "c.d"]),
        (b"a = '1'\nb = '2'\n", b"b = '2'\na = '1'\n", []),
        (b"a = '\xff'\n", b"\xff\n  include 'x'\n", ["a", "include"]),
    ],
)
def test_changed_settings_are_named(before: bytes, after: bytes, changed: list[str]) -> None:
    assert settings_changed(before, after) == changed
