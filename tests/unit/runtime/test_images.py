from pathlib import Path

import pytest

from pgstrata.domain.image import EXPECTED, ICU, Installation
from pgstrata.errors import InvalidArgumentError
from pgstrata.runtime.images import ImageRef, candidates, parse, version_key

DIGEST = "5" * 64


def installed(
    version: str, problem: str | None = None, lacks: tuple[str, ...] = ()
) -> Installation:
    return Installation(
        version=version,
        major=version_key(version)[0],
        bin_dir=Path("/pg") / version,
        source="a test",
        problem=problem,
        lacks=lacks,
    )


@pytest.mark.parametrize(
    ("image", "ref"),
    [
        ("postgres", ImageRef()),
        ("postgres:16", ImageRef(version="16")),
        ("postgres:16.4", ImageRef(version="16.4")),
        ("postgres:18beta1", ImageRef(version="18beta1")),
        (f"postgres@sha256:{DIGEST}", ImageRef(digest=DIGEST)),
        (f"postgres:16@sha256:{DIGEST}", ImageRef(version="16", digest=DIGEST)),
    ],
)
def test_a_name_is_taken_apart(image: str, ref: ImageRef) -> None:
    assert parse(image) == ref


@pytest.mark.parametrize(
    "image",
    [
        "",
        "postgres ",
        "Postgres",
        "postgres:16-alpine",
        "docker.io/library/postgres:16",
        "postgres@sha256:",
        f"postgres@sha256:{'G' * 64}",
        f"postgres@sha512:{DIGEST}",
        f"postgres@sha256:{DIGEST}\n",
    ],
)
def test_anything_else_is_refused(image: str) -> None:
    with pytest.raises(InvalidArgumentError):
        parse(image)


def test_versions_are_ordered_as_numbers_and_before_their_betas() -> None:
    versions = ["16.10", "18.0", "16.9", "18beta1", "9.6"]
    assert sorted(versions, key=version_key) == ["9.6", "16.9", "16.10", "18beta1", "18.0"]


def test_the_newest_of_those_that_match_comes_first() -> None:
    there = [installed("16.3"), installed("17.1"), installed("16.10")]
    chosen = candidates(parse("postgres:16"), there)
    assert [one.version for one in chosen] == ["16.10", "16.3"]


def test_one_that_has_a_problem_is_passed_over() -> None:
    there = [installed("17.1", problem="out of reach"), installed("16.3")]
    assert [one.version for one in candidates(parse("postgres"), there)] == ["16.3"]


def test_the_problem_is_told_when_nothing_else_matches() -> None:
    there = [installed("17.1", problem="out of reach"), installed("16.3")]
    with pytest.raises(InvalidArgumentError, match="out of reach"):
        candidates(parse("postgres:17"), there)


@pytest.mark.parametrize(
    ("image", "chosen"),
    [
        ("postgres", "15.4"),
        ("postgres:18", "18.1"),
        ("postgres:18.4", "18.4"),
        ("postgres:17", "17.9"),
    ],
)
def test_one_that_has_more_comes_before_a_newer_one_that_has_less(image: str, chosen: str) -> None:
    there = [
        installed("18.4", lacks=EXPECTED),
        installed("18.1", lacks=("pgcrypto", ICU)),
        installed("17.9", lacks=("uuid-ossp", ICU)),
        installed("17.8", lacks=EXPECTED),
        installed("15.4"),
        installed("15.3"),
    ]
    assert candidates(parse(image), there)[0].version == chosen


def test_a_complete_one_that_has_a_problem_is_passed_over() -> None:
    there = [installed("18.4", lacks=EXPECTED), installed("15.4", problem="out of reach")]
    assert candidates(parse("postgres"), there)[0].version == "18.4"


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        ("postgres", "`pgstrata postgres install 18` installs it"),
        ("postgres:14", "`pgstrata postgres install 14` installs it"),
        ("postgres:10", "`pgstrata postgres install 10` installs it"),
        ("postgres:14.2", "`pgstrata postgres install 14` installs the last release"),
        ("postgres:9", "install PostgreSQL on this machine"),
        ("postgres:19", "install PostgreSQL on this machine"),
    ],
)
def test_one_that_is_not_there_is_told_with_the_command_that_brings_it(
    image: str, remedy: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="no PostgreSQL was found") as refused:
        candidates(parse(image), [])
    assert (refused.value.remedy or "").startswith(remedy)
