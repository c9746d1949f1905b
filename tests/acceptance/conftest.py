"""The installed command against a real engine on a store of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pgstrata import __file__ as package
from pgstrata.client import discovery
from pgstrata.client.engine import Engine
from tests.clusters import POSTGRES_HOME
from tests.filesystems import memory_place
from tests.servers import started_by

PGSTRATA = Path(sys.executable).with_name("pgstrata")

_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


def command_for(user: str | None) -> tuple[list[str | Path], dict[str, str]]:
    """The command as a user can run it, and the environment that takes.

    Where this Python lies below a private directory, another of the same version runs our code.
    """
    if user is None or _can_run(user, PGSTRATA):
        return [PGSTRATA], {}
    paths = os.pathsep.join(path for path in sys.path if "site-packages" in path)
    source = Path(package).parent.parent
    for directory in ("/usr/bin", "/usr/local/bin"):
        python = Path(directory, f"python{_VERSION}")
        if _can_run(user, python):
            return [python, "-m", "pgstrata"], {"PYTHONPATH": f"{source}{os.pathsep}{paths}"}
    pytest.fail(f"no Python {_VERSION} that user {user} can run")


def _can_run(user: str, program: Path) -> bool:
    try:
        return subprocess.run([program, "--help"], capture_output=True, user=user).returncode == 0
    except OSError:
        return False


class Terminal:
    """A user's shell: runs ``pgstrata`` in a directory, with an engine that starts by itself."""

    def __init__(self, home: Path, user: str | None = None) -> None:
        self.home = home
        self.user = user
        self.store = home / "store"
        self.work = home / "work"
        self.command, more = command_for(user)
        self.environment = more | {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PGSTRATA_STORE": str(self.store),
            "PGSTRATA_POSTGRES_HOME": str(POSTGRES_HOME),
            # What a test looks at is what it asked for.
            "PGSTRATA_POOL_MAX": "0",
        }

    def __call__(
        self,
        *words: str | Path,
        stdin: str = "",
        exit_code: int | None = 0,
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command; an exit code that is not the expected one shows what it said."""
        ended = subprocess.run(
            [*self.command, *words],
            input=stdin,
            text=True,
            capture_output=True,
            cwd=self.work,
            env={**self.environment, **(environment or {})},
            user=self.user,
            timeout=300,
            check=False,
        )
        if exit_code is not None:
            assert ended.returncode == exit_code, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
        return ended

    def json(self, *words: str | Path) -> Any:
        """Run a command with ``--output json``; what it printed, and it alone."""
        return json.loads(self("--output", "json", *words).stdout)

    def prepare(self, *words: str | Path, stdin: str = "") -> str:
        """Prepare with psql; the DSN."""
        printed = self("prepare:psql", "--", *words, stdin=stdin).stdout
        [line] = printed.splitlines()
        name, _, dsn = line.partition("=")
        assert name == "DSN"
        return dsn

    def write(self, name: str, text: str) -> Path:
        """A file in the working directory."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def engine_file(self) -> Any:
        return json.loads((self.store / "engine.json").read_bytes())

    def below_the_engine(self, program: str) -> list[psutil.Process]:
        """What the engine had started that runs a program; any of it may end at any time."""
        found = []
        for process in started_by(self.engine_file()["pid"], self.store):
            with suppress(psutil.NoSuchProcess):
                if process.name() == program:
                    found.append(process)
        return found

    def statement_of_a_step(self) -> psutil.Process:
        """The server process that carries out a ``DO``, once there is one that sleeps in it.

        SIGINT cancels the statement.
        """
        while True:
            for child in self.below_the_engine("postgres"):
                with suppress(psutil.Error):
                    title = " ".join(child.cmdline()).rstrip()
                    if title.endswith(" DO") and child.status() == psutil.STATUS_SLEEPING:
                        return child

    @contextmanager
    def connected(self) -> Iterator[Engine]:
        """The engine that runs, for what takes no command to see."""
        found = discovery.find(self.store / "engine.json", 300)
        assert found is not None
        with closing(found.engine) as engine:
            yield engine

    def clear(self) -> None:
        """Remove all that the store holds but its base states; an engine that runs goes on."""
        if (found := discovery.find(self.store / "engine.json", 300)) is None:
            return
        with closing(found.engine) as engine:
            for job in engine.jobs():
                engine.remove("job", job.job_id, force=True)
            for instance in engine.instances():
                engine.remove("instance", instance.instance_id, force=True)
            for state in engine.states():
                if state.parent_state_id is None:
                    engine.remove("state", state.state_id, recurse=True)

    def stop(self) -> None:
        """End the engine if it runs."""
        if (file := discovery.read(self.store / "engine.json")) is not None:
            with suppress(psutil.NoSuchProcess):
                engine = psutil.Process(file.pid)
                engine.terminate()
                engine.wait(300)

    def tear_down(self) -> None:
        """Remove every instance, stop the engine, and see that nothing of it is left running."""
        self.clear()
        self.stop()


class Shared(Terminal):
    """A shell that many tests use one after the other, and its engine with it.

    A test that changes its environment before the first command gets an engine with that one.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._own = dict(self.environment)
        self._engines: Mapping[str, str] | None = None

    def __call__(self, *words: str | Path, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Run a command, with an engine that has our environment."""
        self.renew()
        return super().__call__(*words, **more)

    def renew(self) -> None:
        """See that no engine runs that has another environment."""
        if self._engines != self.environment:
            self.stop()
            self._engines = dict(self.environment)

    def begin(self) -> None:
        """Be as new for the next test."""
        self.environment = dict(self._own)
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()


@pytest.fixture(scope="session")
def begun_store() -> Iterator[Path]:
    """A store with nothing but the base state of the default image, which takes a while to make."""
    with memory_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        terminal.prepare("-c", "select 1")
        terminal.tear_down()
        for left in terminal.store.glob("engine.*"):
            left.unlink()
        yield terminal.store


@pytest.fixture
def pgstrata(begun_store: Path) -> Iterator[Terminal]:
    """A shell with a store of its own."""
    with memory_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        subprocess.run(["cp", "-a", begun_store, terminal.store], check=True)
        yield terminal
        terminal.tear_down()


@pytest.fixture(scope="session")
def shared_by_all() -> Iterator[Shared]:
    """The shell that ``shared`` hands out."""
    with memory_place() as home:
        terminal = Shared(home)
        yield terminal
        terminal.tear_down()


@pytest.fixture
def shared(shared_by_all: Shared) -> Iterator[Shared]:
    """A shell whose store is empty but for base states; its engine may run already."""
    shared_by_all.begin()
    yield shared_by_all
    shared_by_all.clear()
