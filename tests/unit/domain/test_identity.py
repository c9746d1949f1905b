"""Names made of content."""

import hashlib
import re
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.domain import identity
from pgstrata.domain.identity import (
    Content,
    canonical,
    digest,
    list_digest,
    signature,
    state_id,
    step_digest,
)

_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
_CONTENTS = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def _same(one: object, other: object) -> bool:
    """Equality that tells True from 1, as JSON does."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and one == other


@given(one=_CONTENTS, other=_CONTENTS)
def test_two_contents_have_one_digest_only_when_they_are_the_same(
    one: Content, other: Content
) -> None:
    assert (digest(one) == digest(other)) == _same(one, other)


def test_the_order_in_which_keys_were_put_in_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_the_encoding_is_plain_ascii_without_white_space() -> None:
    assert canonical({"b": ["é", None], "a": True}) == b'{"a":true,"b":["\\u00e9",null]}'


def test_names_are_64_lower_case_hex_characters() -> None:
    for name in (
        step_digest("psql", []),
        state_id("p", "s"),
        signature(kind="psql", image_id="i", state_id="s", plan_only=False),
    ):
        assert re.fullmatch(r"[0-9a-f]{64}", name)


@pytest.mark.parametrize("content", ["x", ["x"], {"x": None}])
def test_a_steps_digest_covers_its_kind_and_content(content: Content) -> None:
    digests = {
        step_digest("psql", content),
        step_digest("lb", content),
        step_digest("psql", [content]),
    }
    assert len(digests) == 3


def test_a_new_recipe_format_gives_every_step_a_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = step_digest("psql", "x")
    monkeypatch.setattr(identity, "RECIPE_FORMAT", identity.RECIPE_FORMAT + 1)
    assert step_digest("psql", "x") != before


@given(st.lists(st.text("ab", max_size=3), min_size=4, max_size=4))
def test_parent_and_step_cannot_be_shifted_into_each_other(words: list[str]) -> None:
    one, other = (words[0], words[1]), (words[2], words[3])
    assert (state_id(*one) == state_id(*other)) == (one == other)


def test_whatever_differs_in_a_job_gives_another_signature() -> None:
    signatures = [
        signature(kind="psql", image_id="i", state_id="s", plan_only=False),
        signature(kind="lb", image_id="i", state_id="s", plan_only=False),
        signature(kind="psql", image_id="j", state_id="s", plan_only=False),
        signature(kind="psql", image_id="i", state_id="t", plan_only=False),
        signature(kind="psql", image_id="i", state_id="s", plan_only=True),
    ]
    assert all(one != other for one, other in combinations(signatures, 2))


@given(
    title=st.text(max_size=5),
    items=st.lists(_CONTENTS, max_size=6),
    times=st.sampled_from((1, 400)),
)
def test_a_list_made_in_pieces_has_the_digest_it_has_as_a_whole(
    title: str, items: list[Content], times: int
) -> None:
    items *= times
    assert list_digest(title, iter(items)) == digest([title, items])


@pytest.mark.parametrize("text", ["x", "é", "🐘", '"', "\\", "\n", "\ud83d\ude00"])
@pytest.mark.parametrize("odd", ["", "."])
def test_a_long_text_has_the_digest_of_its_encoding(text: str, odd: str) -> None:
    long = odd + text * 150_000
    assert identity.digest(long) == hashlib.sha256(identity.canonical(long)).hexdigest()
