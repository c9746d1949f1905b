"""What every kind of test may need."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.clusters import Rig
from tests.filesystems import memory_place

# What a shell starts in the background ignores Ctrl+C and the like, and so would all programs that
# tests start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

# How long an example takes, or is in the making, tells only what else the machine does.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

# Tests connect as well, and libpq is to do for them what they ask for.
for _name in [name for name in os.environ if name.startswith("PG")]:
    if not _name.startswith("PGSTRATA_"):
        del os.environ[_name]


@pytest.fixture(scope="module")
def reachable_dir() -> Iterator[Path]:
    """A fresh directory that every user can pass through, unlike pytest's own."""
    with memory_place() as directory:
        yield directory


@pytest.fixture
def hangups_are_heard() -> Iterator[None]:
    """What is started with ``nohup`` ignores the terminal's end, and so would all it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def clusters_removed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep no data directory of a test beyond its end."""
    rig: Rig | None = request.getfixturevalue("rig") if "rig" in request.fixturenames else None
    yield
    if rig is not None:
        rig.clear()
