"""Which steps of a recipe leave a state: many near its end, few before, and always the last."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pgstrata.domain.plan import States, Step
from pgstrata.prepare import spans

LENGTHS = st.integers(1, 3000)


def steps(count: int) -> list[Step]:
    one = Step(kind="psql", digest="0" * 64, args=(), title="a step", work_dir=Path("/"))
    return [one] * count


def kept(count: int) -> list[int]:
    return sorted(spans.choose("auto", steps(count)))


@given(LENGTHS, st.sampled_from(["auto", "all", "tags"]), st.sets(st.integers(0, 3000)))
def test_the_last_step_always_leaves_a_state(count: int, how: States, worked_on: set[int]) -> None:
    chosen = spans.choose(how, steps(count), worked_on)
    assert count - 1 in chosen
    assert chosen <= set(range(count))


@given(LENGTHS)
def test_all_means_all(count: int) -> None:
    assert spans.choose("all", steps(count)) == set(range(count))


def test_a_recipe_without_steps_leaves_no_state() -> None:
    for how in ("auto", "all", "tags"):
        assert spans.choose(how, ()) == frozenset()


@given(st.integers(1, spans.SHORT))
def test_each_step_of_a_short_recipe_leaves_a_state(count: int) -> None:
    assert kept(count) == list(range(count))


@given(st.integers(spans.SHORT + 1, 3000))
def test_each_step_near_the_end_leaves_a_state(count: int) -> None:
    assert set(range(count - spans.NEAR_END, count)) <= set(kept(count))


@pytest.mark.parametrize(("count", "most"), [(33, 21), (100, 30), (1000, 40), (50_000, 64)])
def test_a_long_recipe_leaves_few(count: int, most: int) -> None:
    assert len(kept(count)) <= most


@given(st.integers(spans.SHORT + 1, 3000), st.data())
def test_what_is_run_again_after_a_change_is_little_beside_what_follows_it(
    count: int, data: st.DataObject
) -> None:
    changed = data.draw(st.integers(0, count - 1))
    before = [at for at in kept(count) if at < changed]
    again = changed - (before[-1] + 1 if before else 0)
    # A quarter, and a seventh of that more where the next spans are half as long.
    assert again <= (count - changed) / 3.5 + 1


@given(st.integers(spans.SHORT + 1, 3000))
def test_a_recipe_that_has_grown_leaves_none_in_its_old_part_that_it_did_not_before(
    count: int,
) -> None:
    old = set(range(count - spans.NEAR_END))
    assert set(kept(count + 1)) & old <= set(kept(count))


@given(st.integers(2, 3000), st.data())
def test_the_state_before_a_step_that_is_worked_on_is_kept(count: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(1, count - 1))
    assert at - 1 in spans.choose("auto", steps(count), {at})


def test_near_is_what_comes_before_a_step_that_can_never_be_cached() -> None:
    some = steps(100)
    some[60] = replace(some[60], uncacheable=True)
    chosen = spans.choose("auto", some)
    assert set(range(60 - spans.NEAR_END, 60)) <= chosen
    assert [at for at in chosen if at >= 60] == [99]


def test_with_tags_only_tagged_steps_leave_states_and_the_last() -> None:
    some = steps(100)
    for at in (3, 70):
        some[at] = replace(some[at], tagged=True)
    assert spans.choose("tags", some, {50}) == {3, 70, 99}


def test_a_span_that_has_run_for_long_is_worth_a_state_if_that_costs_little() -> None:
    assert not spans.is_worth_keeping("auto", 1.0, 0.01)
    assert spans.is_worth_keeping("auto", 6.0, 0.01)
    assert not spans.is_worth_keeping("auto", 6.0, 1.0)
    assert not spans.is_worth_keeping("tags", 600.0, 0.01)
