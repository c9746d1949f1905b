"""Test suites: what a test waits for its database, here and with what others use for it.

The schema is Chinook's. pytest-postgresql copies a template on its server, testing.postgresql a
cluster, on which it starts a server; both are installed for the bench. One database that all tests
share, without any isolation, says what tests alone take.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.engine import Engine
from bench.report import Row

CHINOOK = Path(__file__).parents[2] / "shared" / "data" / "chinook.sql"
_RIVALS = ("pytest-postgresql", "testing.postgresql")
_SLOWEST = _RIVALS[1]
"""It starts a server for each test: it gets fewer, and no second process."""
_MANY, _FEW, _FEWEST = 200, 40, 10
"""How many tests there are."""
_PAUSE = 0.1
_TIMEOUT = 1800  # seconds

_CONFTEST = """
import json, os, time
from pathlib import Path
import pytest

WAITS = []

@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    begun = time.perf_counter()
    result = yield
    WAITS.append(time.perf_counter() - begun)
    return result

def pytest_sessionfinish():
    Path(os.environ["WAITS"], f"{os.getpid()}.json").write_text(json.dumps(WAITS))
"""

_TEST = """
import os, time
import psycopg, pytest

@pytest.mark.parametrize("number", range(int(os.environ["NUMBER"])))
def test_each(dsn, number):
    with psycopg.connect(dsn) as connection:
        connection.execute("select count(*) from artist")
    time.sleep(float(os.environ["PAUSE"]))
"""

_WAYS = {
    "pgstrata": """
@pytest.fixture
def dsn(pg):
    return pg.dsn
""",
    "one shared database": """
@pytest.fixture
def dsn():
    return os.environ["SHARED"]
""",
    "pytest-postgresql": """
from pytest_postgresql import factories

postgresql_proc = factories.postgresql_proc(
    executable=os.environ["PROGRAMS"] + "/pg_ctl",
    unixsocketdir="/tmp",
    load=[Path(__file__).with_name("chinook.sql")],
)
postgresql = factories.postgresql("postgresql_proc")

@pytest.fixture
def dsn(postgresql):
    info = postgresql.info
    return f"postgresql://{info.user}@{info.host}:{info.port}/{info.dbname}"
""",
    "testing.postgresql": """
import psycopg
from testing.postgresql import PostgresqlFactory

def fill(server):
    with psycopg.connect(server.url()) as connection:
        connection.execute(Path(__file__).with_name("chinook.sql").read_text())

@pytest.fixture(scope="session")
def factory():
    programs = os.environ["PROGRAMS"]
    made = PostgresqlFactory(
        cache_initialized_db=True,
        on_initialized=fill,
        initdb=programs + "/initdb",
        postgres=programs + "/postgres",
    )
    yield made
    made.clear_cache()

@pytest.fixture
def dsn(factory):
    with factory() as server:
        yield server.url()
""",
}

_AS_NOBODY = """#!/bin/sh
# Root may not run PostgreSQL. Who does is let into the directories of root's that it needs.
for word; do
    case "$before" in -D | --pgdata) data=$word ;; esac
    before=$word
done
if test -n "$data"; then
    mkdir -p "$data"
    chown -R nobody "$data" "$data/../tmp" 2>/dev/null
    chmod 700 "$data"
    place=$(dirname "$data")
    chmod a+rwx "$place"
    while test "$place" != /; do place=$(dirname "$place"); chmod a+x "$place"; done
fi
exec setpriv --reuid nobody --clear-groups {program} "$@"
"""


def measure(engine: Engine, place: Path) -> list[Row]:
    work = place / "suites"
    work.mkdir()
    ways = list(_WAYS) if _installed(work) else list(_WAYS)[:2]
    for way in ways:
        _write(work / way, way)
    environment = _environment(engine, work)
    shared = _shared(engine, work)
    rows = []
    for processes in ((), ("-n", "2")):
        for pause in (_PAUSE, 0.0):
            found = {
                way: _run(work / way, processes, pause, environment | {"SHARED": shared})
                for way in ways
                if way != _SLOWEST or not processes
            }
            rows += _rows(found, "-n 2" if processes else "serial", pause)
    return rows


class _Found:
    """How one run went."""

    def __init__(self, waits: list[float], seconds: float, number: int) -> None:
        self.median = statistics.median(waits) * 1000
        self.p95 = statistics.quantiles(waits, n=20)[18] * 1000
        self.seconds = seconds
        self.number = number


def _rows(found: Mapping[str, _Found], how: str, pause: float) -> list[Row]:
    ours, shared = found["pgstrata"], found["one shared database"]
    kind = f"{how}, {'100 ms' if pause else 'empty'} tests"
    waits = pause > 0
    rows = [
        Row(what=f"{kind}: wait, p50", value=ours.median, limit=2 if waits else None),
        Row(what=f"{kind}: wait, p95", value=ours.p95),
        Row(
            what=f"{kind}: {ours.number} of them",
            value=ours.seconds,
            unit="s",
            against="the same on one shared database",
            base=shared.seconds,
            limit=1.1 if waits else None,
        ),
    ]
    for way in _RIVALS:
        if way in found:
            rows += [
                Row(
                    what=f"{kind}: wait, {name}",
                    value=value,
                    against=way,
                    base=base,
                    limit=1 / 5 if not waits and name == "p50" and way == _RIVALS[0] else None,
                )
                for name, value, base in (
                    ("p50", ours.median, found[way].median),
                    ("p95", ours.p95, found[way].p95),
                )
            ]
    return rows


def _run(
    project: Path, processes: tuple[str, ...], pause: float, environment: Mapping[str, str]
) -> _Found:
    number = _FEW if project.name in _RIVALS or not pause else _MANY
    if project.name == _SLOWEST:
        number = _FEWEST
    told = project / f"waits-{len(processes)}-{pause}"
    told.mkdir()
    # Nobody waits in the bench for what is done once.
    for count in (1, number):
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes],
            cwd=project,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            env={
                **environment,
                "NUMBER": str(count),
                "PAUSE": str(pause),
                "WAITS": str(told),
            },
        )
        seconds = time.perf_counter() - started
    waits = [json.loads(file.read_text())[1:] for file in told.iterdir()]
    return _Found([wait for each in waits for wait in each], seconds, number)


def _installed(work: Path) -> bool:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(work / "packages")]
    ended = subprocess.run([*pip, *_RIVALS], capture_output=True, text=True)
    if ended.returncode != 0:
        print(f"{' and '.join(_RIVALS)} cannot be installed: {ended.stderr[-500:]}")
    return ended.returncode == 0


def _write(project: Path, way: str) -> None:
    project.mkdir()
    text = CHINOOK.read_text(encoding="utf-8")
    # It makes a database of its own, and enters it.
    text = re.sub(r"(?im)^(drop database|create database|\\c) .*$", "", text)
    (project / "chinook.sql").write_text(text, encoding="utf-8")
    (project / "pytest.ini").write_text("[pytest]\npgstrata_recipe = psql -q -f chinook.sql\n")
    (project / "conftest.py").write_text(_CONFTEST + _WAYS[way])
    (project / "test_each.py").write_text(_TEST)


def _environment(engine: Engine, work: Path) -> dict[str, str]:
    programs = work / "programs"
    programs.mkdir()
    for name in ("pg_ctl", "initdb", "postgres"):
        file, real = programs / name, engine.bin_dir / name
        if os.geteuid() == 0:
            file.write_text(_AS_NOBODY.replace("{program}", str(real)))
            file.chmod(0o755)
        else:
            file.symlink_to(real)
    return {
        **os.environ,
        "PGSTRATA_STORE": str(engine.store),
        "PYTHONPATH": str(work / "packages"),
        "PROGRAMS": str(programs),
    }


def _shared(engine: Engine, work: Path) -> str:
    """The DSN of a database that lives as long as the engine."""
    request = {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "work_dir": str(work / "pgstrata"),
        "psql_args": ["-q", "-f", "chinook.sql"],
    }
    return engine.result(engine.connect(), request)["dsn"]
