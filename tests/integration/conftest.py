"""What tests of Liquibase share: one Java for all of a file, which takes longest to start."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.kinds.liquibase.kind import LiquibaseKind
from tests.liquibase import settings


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop that the Java belongs to."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def kind(runner: asyncio.Runner) -> Iterator[LiquibaseKind]:
    """The kind; a test may close it, and the next to ask starts a Java anew."""
    kind = LiquibaseKind(settings())
    yield kind
    runner.run(kind.close())


@pytest.fixture(scope="module")
def place_of_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``work`` is."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def work(place_of_work: Path) -> Path:
    """A directory that is empty and always the same, as a Java is lent only where it began."""
    for left in place_of_work.iterdir():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    return place_of_work
