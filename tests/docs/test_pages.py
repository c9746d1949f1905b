"""The harness itself: it finds what is wrong, and nothing else."""

import os
from pathlib import Path

import pytest

from tests.docs import pages, session


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("DSN=postgresql://…\n", "DSN=postgresql://postgres:x@127.0.0.1:1/postgres\n"),
        ("a\n…\nd\n", "a\nb\nc\nd\n"),
        ("…\nd\n", "d\n"),
        ("a\n…\n", "a\n"),
        ("[1/1] built  0.6 s\n", "[1/1] built  12 ms\n"),
        ("[1/1] built  0.6 s\n", "planning  10.0 s\n[1/1] running  10.1 s\n[1/1] built  14 s\n"),
        ("1  90c4ee1a6b23  x\n", "1  0123456789ab    x\n"),
    ],
)
def test_a_page_agrees_with_what_is_never_the_same_twice(shown: str, printed: str) -> None:
    assert pages.agrees(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a\n", "a\nb\n"),
        ("a\nb\n", "a\n"),
        ("a…c\n", "a\nc\n"),
        ("[1/2] built\n", "[1/1] built\n"),
        ("built\n", "cached\n"),
        ("", "a\n"),
    ],
)
def test_a_page_disagrees_with_what_is_not_as_it_says(shown: str, printed: str) -> None:
    assert not pages.agrees(shown, printed)


def read(tmp_path: Path, text: str) -> Path:
    """Read a page with this text; the directory it was read in."""
    page, work, aside = (tmp_path / name for name in ("page.md", "the work", "the aside"))
    page.write_text(text)
    work.mkdir()
    aside.mkdir()
    session.run(page, work, aside, {"PATH": os.environ["PATH"]})
    return work


def test_blocks_are_one_session_with_the_files_that_the_page_names(tmp_path: Path) -> None:
    work = read(
        tmp_path,
        "```sql file=a/one.sql\nselect 1;\n```\n"
        '```sh\nx=$(cat a/one.sql)\n```\nwords\n```sh\necho "$x" | tee two\n```\n'
        "```text\nselect 1;\n```\n```sh skip=it would fail\nfalse\n```\n"
        "```sh file=run.sh\n#!/bin/sh\nexit 3\n```\n```sh fails=3\n./run.sh\n```\n",
    )
    assert (work / "two").read_text() == "select 1;\n"


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nfalse\ntrue\n```\n",
        "```sh fails=2\nfalse\n```\n",
        "```sh fails=1\ntrue\n```\n",
        "```sh\nexit 0\n```\n```sh\necho never reached\n```\n",
        "```sh\necho a\n```\n```text\nb\n```\n",
        '```sh\necho "$unset"\n```\n```text\na\n```\n',
    ],
)
def test_a_block_that_does_something_else_is_found(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError, match=r"page\.md:\d"):
        read(tmp_path, text)
