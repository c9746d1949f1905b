"""What is wrong with a ``store`` command is said before anything is done."""

from pathlib import Path

import pytest

from tests import needs
from tests.unit.cli.conftest import Pgstrata


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create",), "name one directory"),
        (("create", "a", "b", "--size", "5G"), "name one directory"),
        (("create", "a"), "the size is missing"),
        (("create", "a", "--size", "5"), "give at least 1GiB"),
        (("create", "a", "--size", "much"), "is not a size"),
        (("resize", "a"), "the size is missing"),
        (("rm",), "name one directory"),
    ],
)
def test_wrong_words_are_refused(
    pgstrata: Pgstrata, project: Path, words: tuple[str, ...], said: str
) -> None:
    ran = pgstrata("store", *words)
    assert ran.exit_code == 2
    assert said in ran.err
    assert list(project.iterdir()) == []


def test_what_is_no_store_of_that_kind_is_neither_resized_nor_removed(pgstrata: Pgstrata) -> None:
    ran = pgstrata("store", "rm", "nothing", "--force")
    assert ran.exit_code == 1
    assert "no btrfs of its own" in ran.err


def test_nothing_is_deleted_without_force(pgstrata: Pgstrata, project: Path) -> None:
    (project / "mine.btrfs").write_bytes(b"precious")
    ran = pgstrata("store", "rm", "mine")
    assert ran.exit_code == 4
    assert "--force" in ran.err
    assert (project / "mine.btrfs").read_bytes() == b"precious"


@needs.no_root
@pytest.mark.parametrize(
    "words", [("create", "mine", "--size", "5G"), ("resize", "mine", "--size", "5G")]
)
def test_who_is_not_root_is_told_so(
    pgstrata: Pgstrata, project: Path, words: tuple[str, ...]
) -> None:
    ran = pgstrata("store", *words)
    assert ran.exit_code == 3
    assert "only root" in ran.err
    assert list(project.iterdir()) == []
