"""The plugin for pytest, in test suites of others: each run is a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests import needs
from tests.acceptance.conftest import Shared, Terminal
from tests.filesystems import new_mount

INI = """
[pytest]
pgstrata_recipe = psql -f schema.sql -f seed.sql
"""

RECIPE = "pgstrata_recipe = psql -c 'select 1'"

EMPTY = "from pgstrata.pytest import state\n\nempty = state('schema.sql')\n"

COUNT = """
def count(database):
    with database.connect() as connection:
        return connection.execute("select count(*) from orders").fetchone()[0]
"""


@pytest.fixture
def project(shared: Shared) -> Shared:
    """A directory with a recipe and an ini file that names it."""
    shared.write("schema.sql", "create table orders (id int primary key);")
    shared.write("seed.sql", "insert into orders values (1), (2);")
    shared.write("pytest.ini", INI)
    shared.environment["PYTHONPATH"] = str(shared.work)
    shared.renew()
    return shared


def start(project: Terminal, *words: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=project.work,
        env={**project.environment, **environment},
        process_group=0,
    )


def run(project: Terminal, *words: str, **environment: str) -> tuple[Mapping[str, int], str]:
    """Run pytest there: how many tests ended how, and what was printed."""
    ended = start(project, *words, **environment)
    printed, _ = ended.communicate(timeout=500)
    counts = re.findall(r"(\d+) (passed|failed|errors?)\b", printed.splitlines()[-1])
    return {how.rstrip("s"): int(number) for number, how in counts}, printed


def nothing_is_left(project: Terminal) -> bool:
    with project.connected() as engine:
        return engine.instances() == []


def test_each_test_gets_what_it_asks_for(project: Shared) -> None:
    project.write(
        "conftest.py",
        """
from pathlib import Path
from pgstrata.pytest import instance, layer, state

shop = state("schema.sql")
filled = layer("shop", "insert into orders values (7)", Path("seed.sql"))
filled_db = instance("filled", scope="module")

def fill(pg):
    calls = Path("calls")
    calls.write_text((calls.read_text() if calls.exists() else "") + "x")
    pg.psql("insert into orders select id from generate_series(11, 15) id")

big = layer("filled", fill, inputs=["*.sql"])
passing = layer("filled", fill)
""",
    )
    project.write(
        "test_shop.py",
        f"""
import asyncio
import os
import pytest
{COUNT}

@pytest.mark.parametrize("time", range(3))
def test_a_database_of_its_own(pg, time):
    assert count(pg) == 2
    pg.psql("delete from orders")

class TestShared:
    def test_one(self, pg_class, pg_module, pg_session):
        assert len({{pg_class.dsn, pg_module.dsn, pg_session.dsn}}) == 3
        for database in (pg_class, pg_module, pg_session):
            database.psql("delete from orders where id = 1")

    def test_two(self, pg_class):
        assert count(pg_class) == 1

    @pytest.mark.pgstrata(scope="module")
    def test_the_modules(self, pg, pg_module):
        assert pg is pg_module and count(pg) == 1

def test_how_to_connect(pg, pg_dsn, pg_connection, pg_engine):
    assert pg.dsn == pg_dsn and pg.libpq["PGPORT"] in pg.url("asyncpg")
    assert pg_connection.execute("select 1").fetchone() == (1,)
    with pg_engine.connect() as connection:
        assert connection.exec_driver_sql("select 2").scalar() == 2

def test_how_to_connect_later(pg_async_engine):
    async def three():
        async with pg_async_engine.connect() as connection:
            return (await connection.exec_driver_sql("select 3")).scalar()
    assert asyncio.run(three()) == 3

def test_what_it_can_do(pg, pgstrata):
    assert pg.psql("select id from orders; select 5") == "1\\n2\\n5\\n"
    with pytest.raises(Exception, match="no_such"):
        pg.psql("select * from no_such")
    state = pg.snapshot()
    fork = pg.fork()
    pg.psql("delete from orders")
    assert (count(fork), count(pg)) == (2, 0)
    pg.reset()
    assert count(pg) == 2
    assert pgstrata.states.get(state.state_id).refcount == 0

@pytest.mark.pgstrata(state="filled", settings={{"work_mem": "3MB"}})
def test_another_state(pg, filled_db):
    assert pg.psql("show work_mem") == "3MB\\n"
    assert count(pg) == count(filled_db) == 3

@pytest.mark.pgstrata(state="big")
def test_what_a_function_filled(pg):
    assert count(pg) == 8

@pytest.mark.pgstrata(state="passing")
def test_what_it_filled_for_this_run(pg):
    assert count(pg) == 8
""",
    )
    if find_spec("greenlet") is None:
        needs.missing("there is no greenlet: run `make test`")
    counts, printed = run(project, "-W", "error", "-v")
    assert counts == {"passed": 12}, printed
    assert "psql -f schema.sql -f seed.sql" in printed
    assert re.search(r"state [0-9a-f]{12}: miss", printed)
    assert re.search(r"databases; waited for each: p50 [0-9.]+ ms, p95", printed)
    assert "left open" not in printed
    assert nothing_is_left(project)
    # The next run finds what may be found again, and fills only what was for this one.
    assert (project.work / "calls").read_text() == "xx"
    counts, printed = run(project, "-k", "filled")
    assert (counts, (project.work / "calls").read_text()) == ({"passed": 2}, "xxx"), printed
    assert len(re.findall("state [0-9a-f]{12}: miss", printed)) == 1


def test_what_fails_and_what_is_left_open_is_told_and_kept(project: Shared) -> None:
    project.write(
        "test_shop.py",
        """
import pytest

def test_fails(pg):
    pg.psql("insert into orders values (3)")
    assert pg.psql("select count(*) from orders") == "4"

def test_leaks(pg):
    global connection
    connection = pg.connect()
    connection.execute("select 42")

@pytest.mark.pgstrata(keep=True)
def test_is_kept(pg):
    pass

def test_is_not(pg):
    pass
""",
    )
    counts, printed = run(project, "--pgstrata-keep")
    assert counts == {"failed": 1, "passed": 3}
    assert "left open by test_shop.py::test_leaks: a client (idle in transaction): select 42" in (
        printed
    )
    kept = dict(re.findall(r"kept of test_shop.py::(\w+): psql (\S+)", printed))
    assert kept.keys() == {"test_fails", "test_is_kept"}
    with psycopg.connect(kept["test_fails"]) as connection:
        assert connection.execute("select count(*) from orders").fetchone() == (3,)
    assert re.search(r"state [0-9a-f]{12}: miss", printed)
    project.write("pytest.ini", f"{INI}pgstrata_leaks = error\n")
    counts, printed = run(project, "-k", "leaks or is_not")
    assert re.search(r"state [0-9a-f]{12}: hit", printed)
    assert counts == {"passed": 2, "error": 1}
    assert "sessions were left open:\na client (idle in transaction): select 42" in printed
    with project.connected() as engine:
        for entry in engine.instances():
            engine.remove("instance", entry.instance_id, force=True)
    _, printed = run(project, "-k", "is_not", "--pgstrata-rebuild")
    assert re.search(r"state [0-9a-f]{12}: miss", printed)


def test_what_is_built_again_is_taken_from_nobody(project: Shared) -> None:
    project.write(
        "test_shop.py",
        """
import pytest
from pgstrata import psql

class TestOther:
    @pytest.fixture(scope="class")
    def pgstrata_recipe(self):
        return psql("schema.sql").then("insert into orders values (7)")

    def test_it(self, pg_class):
        assert pg_class.psql("select id from orders") == "7\\n"

@pytest.fixture(scope="module")
def many():
    return psql("schema.sql").then(*(f"insert into orders values ({n})" for n in range(40)))

def test_it(pg_session, pg):
    assert pg_session.psql("select id from orders") == "1\\n2\\n"

class TestMany:
    @pytest.fixture(scope="class")
    def pgstrata_recipe(self, many):
        return many

    def test_it(self, pg_class):
        assert pg_class.psql("select count(*) from orders") == "40\\n"

def test_it_later(pg_session):
    assert pg_session.psql("select id from orders") == "1\\n2\\n"
""",
    )
    for _ in range(2):
        counts, printed = run(project, "--pgstrata-rebuild")
        assert counts == {"passed": 4}, printed
        assert "hit" not in printed
    project("prepare:psql", "--name", "dev", "-f", "schema.sql")
    counts, printed = run(project, "--pgstrata-rebuild", "-k", "later")
    assert counts == {"error": 1}, printed
    assert re.search("cannot be built again, since instance [0-9a-f]{12} was made", printed)
    project("run:psql", "--instance", "dev", "-c", "select count(*) from orders")
    project("rm", "dev")
    state = project.json("ls", "-s")["states"][0]["state_id"]
    project("pin", state)
    counts, printed = run(project, "--pgstrata-rebuild", "-k", "later")
    assert counts == {"error": 1}, printed
    assert f"cannot be built again, since state {state[:12]} is pinned" in printed


def test_workers_share_what_was_built_once_and_a_crash_leaves_nothing(project: Shared) -> None:
    project.write(
        "test_shop.py",
        f"""
import os
import pytest
{COUNT}

@pytest.mark.parametrize("number", range(6))
def test_each(pg, number, pgstrata_recipe):
    assert count(pg) == 2
    if number == 3:
        os._exit(1)
""",
    )
    counts, printed = run(project, "-n", "2")
    assert counts == {"passed": 5, "failed": 1}, printed
    assert len(re.findall(r"state [0-9a-f]{12}: miss", printed)) == 1
    deadline = time.monotonic() + 300
    while not nothing_is_left(project):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["alone", "workers"])
def test_what_is_ready_for_later_tests_makes_room_for_the_next_one(
    project: Shared, processes: tuple[str, ...]
) -> None:
    project.write("conftest.py", EMPTY)
    project.write(
        "test_shop.py",
        """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_each(pg, number):
    pass

@pytest.mark.parametrize("number", range(2))
@pytest.mark.pgstrata(state="empty")
def test_another(pg, number):
    pass
""",
    )
    project.environment["PGSTRATA_INSTANCES_MAX"] = "1"
    project.renew()
    counts, printed = run(project, *processes)
    assert counts == {"passed": 5}, printed
    assert "are allowed" not in printed


def test_a_recipe_that_fails_is_reported_once(project: Shared) -> None:
    project.write("seed.sql", "insert into order values (1);")
    project.write(
        "test_shop.py",
        """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_each(pg, number):
    pass

def test_without():
    pass
""",
    )
    for words in ((), ("-n", "2")):
        counts, printed = run(project, *words)
        assert counts == {"passed": 1, "error": 3}, printed
        assert printed.count("LINE 1: insert into order values (1);") == 1
        told = r'at or near "order"\nLINE 1: .*\n +\^\nwhat to do: correct `-f '
        assert re.search(told, printed), printed
        assert "another exception" not in printed


def test_a_test_may_ruin_its_server(project: Shared) -> None:
    project.write(
        "test_shop.py",
        f"""
import contextlib
import psycopg
import pytest
{COUNT}

def test_drops_everything(pg):
    template = pg.dsn.rpartition("/")[0] + "/template1"
    with psycopg.connect(template, autocommit=True) as other:
        other.execute("drop database postgres with (force)")

def test_kills_its_sessions(pg):
    with contextlib.suppress(psycopg.Error), pg.connect() as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity")

def test_ends_the_server(pg):
    with contextlib.suppress(psycopg.Error), pg.connect() as connection:
        connection.execute("copy (select 1) to program 'kill -9 $PPID; kill -9 -1'")

def test_is_not_disturbed(pg):
    assert count(pg) == 2
""",
    )
    counts, printed = run(project, "-W", "error")
    assert counts == {"passed": 4}, printed
    assert nothing_is_left(project)


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "workers"])
def test_ctrl_c_leaves_nothing(project: Shared, words: tuple[str, ...]) -> None:
    project.write(
        "test_shop.py",
        """
import time
from pathlib import Path

def test_waits(pg):
    Path("begun").touch()
    time.sleep(300)
""",
    )
    running = start(project, *words)
    while not (project.work / "begun").exists():
        assert running.poll() is None
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    printed, _ = running.communicate(timeout=300)
    assert running.returncode == 2, printed
    assert nothing_is_left(project)


def test_the_application_finds_its_database_in_the_environment(project: Shared) -> None:
    project.write("pytest.ini", f"{INI}pgstrata_env = DATABASE_URL=psycopg\n")
    project.write("app.py", "import os\nURL = os.environ['DATABASE_URL']\n")
    project.write("conftest.py", "import app\n")
    project.write(
        "test_app.py",
        """
import app

def test_it(pg_session):
    assert app.URL == pg_session.url("psycopg")
""",
    )
    for words in ((), ("-n", "1")):
        counts, printed = run(project, *words)
        assert counts == {"passed": 1}, printed
    assert nothing_is_left(project)


def test_a_run_that_stops_or_goes_on_where_it_failed_leaves_nothing(project: Shared) -> None:
    project.write(
        "test_shop.py",
        """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_each(pg, number):
    pg.psql(f"insert into orders values ({number + 3}); select 1 / {abs(number - 1)}")
""",
    )
    for words, ended in (
        (("-x",), {"passed": 1, "failed": 1}),
        (("--lf",), {"failed": 1}),
        (("--ff", "-n", "2"), {"passed": 3, "failed": 1}),
    ):
        counts, printed = run(project, *words)
        assert counts == ended, printed
        assert "division by zero" in printed
        assert "testing/pg.py" not in printed  # it is the test's line that is shown
        assert nothing_is_left(project)


@needs.root
def test_a_test_that_fills_the_disk_fails_alone(begun_store: Path) -> None:
    with new_mount("tmpfs", 400 << 20) as home:
        project = Terminal(home)
        project.write(
            "pytest.ini", "[pytest]\npgstrata_recipe = psql -c 'create table t (x text)'\n"
        )
        project.write(
            "test_shop.py",
            """
import pytest

def test_fills_it(pg):
    pg.psql("insert into t select repeat(md5(n::text), 30) from generate_series(1, 1000000) n")

def test_is_ready_already(pg):
    pass

def test_is_not_disturbed(pg):
    pg.psql("insert into t values ('')")
""",
        )
        subprocess.run(["cp", "-a", begun_store, project.store], check=True)
        try:
            counts, printed = run(project)
            assert counts == {"passed": 2, "failed": 1}, printed
            assert nothing_is_left(project)
        finally:
            project.tear_down()


def test_an_engine_of_another_version_is_told(project: Shared) -> None:
    project.write("conftest.py", "import pgstrata\n\npgstrata.__version__ = '9.9'\n")
    project.write("test_shop.py", "def test_it(pg):\n    pass\n")
    counts, printed = run(project)
    assert counts == {"passed": 1}, printed
    assert re.search("^1 database; waited for it: [0-9.]+ ms$", printed, re.MULTILINE)
    assert "and this plugin of 9.9: `pgstrata engine stop`" in printed


def test_of_two_that_define_postgresql_the_nearer_one_counts(project: Shared) -> None:
    project.write(
        "other_plugin.py",
        """
import pytest

@pytest.fixture
def postgresql():
    return "the other plugin's"

@pytest.fixture
def pg():
    return "the other plugin's"
""",
    )
    project.write(
        "test_other.py",
        'def test_it(postgresql):\n    assert postgresql == "the other plugin\'s"\n',
    )
    project.write(
        "ours/conftest.py",
        """
from pgstrata.pytest.compat import factories

postgresql_proc = factories.postgresql_proc()
postgresql = factories.postgresql("postgresql_proc")
""",
    )
    project.write(
        "ours/test_it.py",
        """
def test_it(postgresql):
    assert postgresql.execute("select current_database()").fetchone() == ("tests",)
""",
    )
    counts, printed = run(project, "-p", "other_plugin")
    assert counts == {"passed": 2}, printed


def test_what_needs_the_plugin_says_so_without_it(project: Shared) -> None:
    project.write("test_shop.py", "def test_it(pg):\n    pass\n")
    project.write(
        "conftest.py",
        """
from pgstrata.pytest.compat import factories

postgresql_proc = factories.postgresql_proc()
postgresql = factories.postgresql("postgresql_proc")
""",
    )
    project.write("test_words.py", "def test_it(postgresql):\n    pass\n")
    counts, printed = run(project, "-p", "no:pgstrata", "-c", os.devnull)
    assert counts == {"error": 2}
    assert "fixture 'pg' not found" in printed
    assert "the plugin pgstrata is left out of this run" in printed
    assert "Traceback" not in printed
    assert "AttributeError" not in printed


def test_fixtures_of_sqlalchemy_say_that_it_is_missing(project: Shared) -> None:
    project.write("conftest.py", "import sys\nsys.modules['sqlalchemy'] = None\n")
    project.write(
        "test_shop.py",
        """
from pgstrata.pytest.compat.alembic import alembic_engine

def test_one(pg_engine):
    pass

def test_asyncio(pg_async_engine):
    pass

def test_migrations(alembic_engine):
    pass
""",
    )
    counts, printed = run(project)
    assert counts == {"error": 3}, printed
    assert printed.count("pip install 'sqlalchemy[asyncio]'") >= 3
    assert "Traceback" not in printed


def test_who_does_not_use_it_does_not_notice_it(project: Shared) -> None:
    project.stop()
    project.write(
        "test_shop.py",
        """
import sys

def test_nothing_is_imported():
    assert not {"msgspec", "psycopg", "pgstrata.client"} & sys.modules.keys()
""",
    )
    counts, printed = run(project, "-W", "error")
    assert counts == {"passed": 1}, printed
    assert "databases" not in printed
    assert not (project.store / "engine.json").exists()
    counts, printed = run(project, "-p", "no:pgstrata", "-W", "error", "-c", os.devnull)
    assert counts == {"passed": 1}, printed


def test_marks_of_a_test_and_its_class_count_together(project: Shared) -> None:
    project.write("conftest.py", EMPTY)
    project.write(
        "test_shop.py",
        f"""
import pytest
{COUNT}

@pytest.mark.pgstrata(state="empty", settings={{"work_mem": "3MB"}})
class TestEmpty:
    @pytest.mark.pgstrata(settings={{"work_mem": 2048}})
    def test_it(self, pg):
        assert (count(pg), pg.psql("show work_mem")) == (0, "2MB\\n")
""",
    )
    counts, printed = run(project)
    assert counts == {"passed": 1}, printed


def test_marks_that_cannot_be_are_told_in_a_line_each(project: Shared) -> None:
    told = {
        "'empty'": "each word has a name, such as state='empty'",
        "stat='empty'": "there is no stat",
        "state=1": "state is the name of a fixture, and not 1",
        "scope='modul'": "scope is function, class, module or session, and not 'modul'",
        "scope='module', settings={'a': 'b'}": "scope goes with neither state nor settings",
        "keep='often'": "keep is True, False, 'failed', 'all' or 'never', and not 'often'",
        "settings='fast'": "settings are a dictionary, and not 'fast'",
        "settings={'work_mem': 'much'}": 'invalid value for parameter "work_mem": "much"',
        "settings={'no_such': 1}": 'unrecognized configuration parameter "no_such"',
    }
    tests = (
        f"@pytest.mark.pgstrata({mark})\ndef test_{number}(pg):\n    pass\n"
        for number, mark in enumerate(told)
    )
    project.write("test_it.py", "\n".join(("import pytest", *tests)))
    counts, printed = run(project)
    assert counts == {"error": len(told)}, printed
    assert [each for each in told.values() if each not in printed] == []
    assert not re.search(r"Traceback|another exception|fixtures\.py|plugin\.py", printed)


@pytest.mark.parametrize(
    ("ini", "words", "told"),
    [
        ("pgstrata_recipe = nonsense -f x", (), "there is no kind nonsense"),
        ("pgstrata_recipe = psql -f missing.sql", (), "missing.sql"),
        ("pgstrata_recipe = psql 'x", (), "No closing quotation"),
        ("pgstrata_recipe = psql -f -", (), "reads standard input"),
        ("", (), "there is no recipe"),
        ("pgstrata_leaks = sometimes", (), "pgstrata_leaks must be one of"),
        (f"{RECIPE}\npgstrata_env = =psycopg", (), "pgstrata_env: `=psycopg` names no variable"),
        (f"{RECIPE}\npgstrata_env = A=odbc", (), 'pgstrata_env: there is no driver "odbc"'),
        (RECIPE, ("--pgstrata-url=http://127.0.0.1:9",), "cannot reach the engine"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    project: Shared, ini: str, words: tuple[str, ...], told: str
) -> None:
    project.write("pytest.ini", f"[pytest]\n{ini}\n")
    project.write("test_it.py", "def test_it(pg):\n    pass\n")
    _, printed = run(project, *words, PGSTRATA_TOKEN="none")
    assert told in printed
    assert "Traceback" not in printed
    assert "another exception" not in printed
