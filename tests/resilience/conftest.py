"""What resilience tests share: places for stores, and the figures they end with."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.filesystems import GIB, CannotMountError, give_up, loop_mounted

_figures = pytest.StashKey[list[str]]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say a figure at the end of the whole test run."""
    figures = request.config.stash.setdefault(_figures, [])
    return figures.append


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if figures := config.stash.get(_figures, []):
        terminalreporter.section("resilience")
        for figure in figures:
            terminalreporter.line(figure)


@pytest.fixture(scope="module")
def btrfs_dir() -> Iterator[Path]:
    """A directory on btrfs that every user can pass through."""
    with tempfile.TemporaryDirectory(prefix="pgstrata-test-") as name:
        Path(name).chmod(0o711)
        try:
            with loop_mounted("btrfs", 4 * GIB, Path(name)) as mount_point:
                yield mount_point
        except CannotMountError as error:
            give_up(error)
