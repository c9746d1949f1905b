"""The command line run in this process, in a directory of its own, against a scripted engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import pytest

from pgstrata.cli.main import main
from tests.unit.client.fake_engine import TOKEN, FakeEngine


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    exit_code: int
    out: str
    err: str


class Pgstrata(Protocol):
    def __call__(self, *words: str) -> Ran: ...


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The caller's directory, with no configuration anywhere."""
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PGSTRATA_STORE", str(tmp_path / "store"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "NO_COLOR", "PGSTRATA_POSTGRES_HOME"):
        monkeypatch.delenv(name, raising=False)
    return directory


@pytest.fixture
def fake(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """A scripted engine that the command line is told to use."""
    with FakeEngine().serving() as engine:
        monkeypatch.setenv("PGSTRATA_ENDPOINT", engine.endpoint)
        monkeypatch.setenv("PGSTRATA_TOKEN", TOKEN)
        yield engine


@pytest.fixture
def pgstrata(project: Path, capsys: pytest.CaptureFixture[str]) -> Pgstrata:
    """Run the command line."""

    def run(*words: str) -> Ran:
        exit_code = main(words)
        out, err = capsys.readouterr()
        return Ran(exit_code, out, err)

    return run
