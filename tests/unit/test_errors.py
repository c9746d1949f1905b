"""Errors as they cross the wire: a code, a message, and what to do with the tool's own words."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.errors import (
    MOST_BYTES,
    PgstrataError,
    StepFailedError,
    join_details,
    split_details,
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r"), max_size=30)


@given(st.none() | TEXTS, st.none() | TEXTS)
def test_what_to_do_and_the_tool_s_words_are_told_apart_again(
    remedy: str | None, words: str | None
) -> None:
    error = StepFailedError("it broke", remedy=remedy, details=words)
    assert split_details(error.body().details) == (error.remedy, words or None)


@given(TEXTS)
def test_a_remedy_is_one_line(remedy: str) -> None:
    assert len((PgstrataError("x", remedy=remedy).remedy or "").splitlines()) <= 1


def test_a_traceback_has_what_a_tool_said_and_what_to_do() -> None:
    error = StepFailedError("it broke", remedy="do it", details="ERROR:  no\nLINE 1")
    told = "".join(traceback.format_exception(error))
    assert told.endswith("StepFailedError: it broke\nERROR:  no\nLINE 1\nwhat to do: do it\n")
    assert traceback.format_exception_only(PgstrataError("x"))[-1].endswith("PgstrataError: x\n")


@pytest.mark.parametrize(
    ("remedy", "words", "details"),
    [
        ("do it", "ERROR:  no\nLINE 1", "do it\n\nERROR:  no\nLINE 1"),
        ("do it", None, "do it"),
        (None, "ERROR:  no\nLINE 1", "\nERROR:  no\nLINE 1"),
        (None, None, None),
        ("", "", None),
    ],
)
def test_details_are_the_remedy_a_blank_line_and_the_tool_s_words(
    remedy: str | None, words: str | None, details: str | None
) -> None:
    assert PgstrataError("x", remedy=remedy, details=words).body().details == details


def test_what_names_a_file_with_a_line_break_in_it_is_still_one_line() -> None:
    error = PgstrataError("x", remedy="correct a\nb\r\nc.sql", details="ERROR")
    assert error.body().details == "correct a b c.sql\n\nERROR"
    assert join_details(error.remedy, error.details) == error.body().details


def test_lines_without_a_blank_one_are_a_tool_s_words_alone() -> None:
    assert split_details("ERROR:  no\nLINE 1: x") == (None, "ERROR:  no\nLINE 1: x")


@pytest.mark.parametrize("character", ["x", "é", "🐘"])
def test_what_an_error_says_has_its_bounds_whatever_it_names(character: str) -> None:
    long = character * MOST_BYTES
    body = StepFailedError(f"{long} is wrong", remedy=f"mend {long}", details=f"{long}\nend").body()
    assert body.details is not None
    for text in (body.message, body.details):
        assert MOST_BYTES * 0.9 < len(text.encode()) <= MOST_BYTES
    assert body.message.startswith(character)
    assert body.message.endswith(" is wrong")
    remedy, words = split_details(body.details)
    assert remedy is not None
    assert remedy.startswith(f"mend {character}")
    assert words is not None
    assert words.endswith(f"{character}\nend")
