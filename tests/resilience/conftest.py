"""What resilience tests share: places for stores, and the figures they end with."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.filesystems import GIB, memory_place, new_mount
from tests.resilience.engine import Engine
from tests.resilience.stores import store_in

_TALLY = "tally"


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say a figure at the end of the whole test run, whichever process the test ran in."""
    return lambda figure: record_property(_TALLY, figure)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == _TALLY
    ]
    if figures:
        terminalreporter.section("resilience")
        for figure in figures:
            terminalreporter.line(str(figure))


@pytest.fixture(scope="module")
def btrfs_dir() -> Iterator[Path]:
    """A directory on btrfs that every user can pass through."""
    with new_mount("btrfs", 4 * GIB) as mount_point:
        yield mount_point


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine on a new store, not started yet."""
    with memory_place() as directory, store_in(directory) as one:
        yield one
