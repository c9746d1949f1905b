"""``prepare:exec``: any command makes a database, from where it is typed to the DSN."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.acceptance.conftest import Terminal
from tests.filesystems import memory_place

SCRIPT = """#!/bin/sh -e
for file in sql/*.sql; do
    echo "running $file"
    psql -qX -v ON_ERROR_STOP=1 -v tenant="${TENANT:-none}" -f "$file"
done
"""


@pytest.fixture(scope="module")
def shell() -> Iterator[Terminal]:
    """A shell whose engine all tests here share."""
    with memory_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        yield terminal
        terminal.tear_down()


@pytest.fixture
def project(shell: Terminal, request: pytest.FixtureRequest) -> Terminal:
    """The same in a directory of the test's own, with a script that runs files of SQL."""
    shell.work = shell.home / "work" / request.node.name.partition("[")[0]
    shell.work.mkdir(exist_ok=True)
    shell.environment.pop("TENANT", None)
    shell.write("setup.sh", SCRIPT).chmod(0o755)
    shell.write("sql/a.sql", "create table t (tenant text);\ninsert into t values (:'tenant');\n")
    return shell


def _prepared(shell: Terminal, *words: str | Path) -> tuple[str, bool]:
    """The DSN, and whether the step was cached."""
    made = shell.json("prepare:exec", *words)
    tasks = shell.json("ls", "-t", "--job", made["job_id"])["tasks"]
    [cached] = [task["cached"] for task in tasks if task["type"] == "state_execute"]
    return made["dsn"], cached


def _rows(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute("table t").fetchall()]


def test_a_command_runs_once_for_the_same_inputs(project: Terminal) -> None:
    words = ("--input", "sql", "--", "./setup.sh")
    dsn, cached = _prepared(project, *words)
    assert (_rows(dsn), cached) == (["none"], False)
    assert _prepared(project, *words)[1]
    project.write("sql/b.sql", "insert into t values ('more');\n")
    assert "sql/b.sql is new" in project("plan:exec", *words).stdout
    dsn, cached = _prepared(project, *words)
    assert (sorted(_rows(dsn)), cached) == (["more", "none"], False)


def test_its_output_is_the_jobs_log(project: Terminal) -> None:
    said = project("-v", "prepare:exec", "--", "./setup.sh").stderr
    assert "running sql/a.sql" in said
    assert "./setup.sh" in said


def test_variables_are_given_or_taken_from_the_callers_environment(project: Terminal) -> None:
    project.environment["TENANT"] = "acme"
    assert _rows(_prepared(project, "--input", "sql", "--", "./setup.sh")[0]) == ["none"]
    for variable in ("TENANT", "TENANT=acme"):
        dsn, _ = _prepared(project, "--env", variable, "--input", "sql", "--", "./setup.sh")
        assert _rows(dsn) == ["acme"]


def test_its_server_is_told_in_every_way(project: Terminal) -> None:
    ways = (
        '"$DATABASE_URL"',
        '-h "$PGHOST" -p "$PGPORT" -U "$PGUSER" "$PGDATABASE"',
        '"${JDBC_DATABASE_URL#jdbc:}?user=$JDBC_DATABASE_USERNAME"',
    )
    psql = (f"psql -qX {way} -c 'insert into t select current_user'" for way in ways)
    script = "; ".join(("psql -qXc 'create table t (name text)'", *psql))
    assert _rows(_prepared(project, "--", "sh", "-ec", script)[0]) == ["postgres"] * 3


def test_without_inputs_it_runs_every_time_and_may_write(project: Terminal) -> None:
    words = ("--", "sh", "-c", "echo run >> runs; psql -qXc 'create table t (a int)'")
    for number in (1, 2):
        assert _prepared(project, *words)[1] is False
        assert (project.work / "runs").read_text() == "run\n" * number
    assert "never cached" in project("plan:exec", *words).stdout


def test_a_command_that_fails_is_told_with_its_words_and_leaves_nothing(project: Terminal) -> None:
    project.write("sql/a.sql", "create table t (a nonsense);\n")
    words = ("prepare:exec", "--input", "sql", "--", "./setup.sh")
    said = project(*words, exit_code=1).stderr
    assert "`./setup.sh` ended with exit code 3" in said
    assert 'type "nonsense" does not exist' in said
    assert "to build" in project("plan:exec", *words[1:]).stdout


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        ((), "there is no command to run", "after --"),
        (("--", "no-such-command"), "there is no command no-such-command in ", "install it"),
        (("--", "./sql/a.sql"), "a.sql is not executable", "chmod +x"),
        (("--input", "none", "--", "true"), "none, which --input names", "correct"),
        (("--input", "*.none", "--", "true"), "--input *.none matches nothing", "pattern"),
        (("--input", "sql/a.sql", "setup.sh", "--", "true"), "setup.sh stands where", "quote"),
        (("--env", "NONE", "--", "true"), 'there is no variable "NONE"', "--env"),
        (("--env", "PGHOST=x", "--", "true"), "PGHOST tells the command", "leave it out"),
    ],
)
def test_wrong_usage(project: Terminal, words: tuple[str, ...], problem: str, hint: str) -> None:
    project.work.joinpath("sql/a.sql").chmod(0o644)
    error, remedy = project("prepare:exec", *words, exit_code=2).stderr.splitlines()[-2:]
    assert problem in error
    assert hint in remedy
