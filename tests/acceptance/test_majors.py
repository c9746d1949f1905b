"""The main job on every supported major, and PostgreSQL fetched and removed from the shell."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Terminal
from tests.clusters import POSTGRES_HOME, fetched
from tests.liquibase import liquibase_home

MAJORS = ("10", "13", "15", "18")
LATER = "pg_walinspect"
"""An extension that came with PostgreSQL 15."""


@pytest.fixture(scope="module")
def common(reachable_dir: Path) -> Iterator[Terminal]:
    """A shell for all majors, with one engine."""
    home = reachable_dir / "home"
    home.mkdir(mode=0o711)
    terminal = Terminal(home)
    terminal.work.mkdir()
    terminal.environment["PGSTRATA_LIQUIBASE_HOME"] = os.environ.get(
        "PGSTRATA_LIQUIBASE_HOME", f"{sys.prefix}/liquibase"
    )
    yield terminal
    terminal.tear_down()


@pytest.mark.parametrize(
    "major", ["10", *(pytest.param(each, marks=pytest.mark.slow) for each in MAJORS[1:-1]), "18"]
)
def test_the_main_job_on_a_major(common: Terminal, major: str) -> None:
    shell = common
    fetched(major)
    shell.write("tables.sql", "create table book (id serial primary key, title text);\n")
    shell.write("schema.sql", "\\ir tables.sql\ncreate extension hstore;\n")
    shell.write("books.csv", "1,Dune\n2,Emma\n")
    recipe = (
        *("-f", "schema.sql", "-c", "\\copy book from books.csv csv"),
        *("-c", "insert into book (id, title) select n, n::text from generate_series(3, 5000) n"),
    )
    words = ("prepare:psql", "--image", f"postgres:{major}", "--", *recipe)
    first, second = shell(*words), shell(*words)
    assert (first.stderr.count("built"), second.stderr.count("cached")) == (3, 3)
    for ended in (first, second):
        with psycopg.connect(ended.stdout.strip().removeprefix("DSN=")) as connection:
            assert connection.info.server_version // 10000 == int(major)
            assert connection.execute("select count(*) from book").fetchall() == [(5000,)]


def test_an_extension_that_a_server_lacks_is_told_with_where_it_can_be_had(
    common: Terminal,
) -> None:
    shell = common
    fetched("10")
    newest = fetched("18").version
    liquibase_home()
    shell.write(
        "changelog.sql",
        f"--liquibase formatted sql\n--changeset ann:1\ncreate extension {LATER};\n",
    )
    image = ("--image", "postgres:10")
    for command in (
        ("prepare:psql", *image, "--", "-c", f"create extension {LATER}"),
        ("prepare:lb", *image, "--", "update", "--changelog-file=changelog.sql"),
    ):
        said = shell(*command, exit_code=1).stderr
        assert f"has no {LATER}; to get it: use --image postgres:{newest}" in said
    error = shell(
        "--output", "json", "prepare:psql", "--", "-c", "create extension nobodys", exit_code=1
    ).stdout
    assert "has no nobodys, nor has any other here" in error


def test_one_that_is_fetched_is_listed_run_and_removed_once_nothing_runs_from_it(
    pgstrata: Terminal,
) -> None:
    ours, shell = fetched("13"), pgstrata
    shell.environment["PGSTRATA_POSTGRES_HOME"] = str(home := shell.home / "fetched, here")
    home.mkdir()
    for name in (ours.version, "clients-*"):
        for path in POSTGRES_HOME.glob(name):
            shutil.copytree(path, home / path.name, symlinks=True)
    listed = shell.json("postgres", "ls")
    [entry] = [one for one in listed["installed"] if one["bin_dir"].startswith(str(home))]
    assert (entry["version"], entry["source"]) == (ours.version, "pgstrata postgres install")
    assert "pgcrypto" in entry["extensions"]
    assert "lacks" not in entry
    assert ours.version not in [one["version"] for one in listed["available"]]
    assert f"{len(ours.extensions)} extensions" in shell("postgres", "ls").stdout
    status = shell.json("status")["runtime"]["installations"]
    assert entry in status
    shell("prepare:psql", f"--image=postgres:{ours.version}", "--name=it", "--", "-c", "select 1")
    refused = shell("postgres", "rm", "13", exit_code=4).stderr
    assert "PostgreSQL 13 is in use by 1 running server" in refused
    shell("rm", "-f", shell.json("ls", "-i")["instances"][0]["instance_id"])
    assert shell.json("postgres", "rm", "13")["removed"] == [ours.version]
    gone = shell("postgres", "rm", "13", exit_code=1).stderr
    assert f"PostgreSQL 13 is not in {home}" in gone
    said = shell("prepare:psql", "--image=postgres:13", "--", "-c", "select 1", exit_code=2).stderr
    assert "`pgstrata postgres install 13` installs it" in said


def test_one_that_is_needed_by_nobody_is_not_fetched(common: Terminal) -> None:
    fetched("18")
    there = sorted(POSTGRES_HOME.iterdir())
    said = common("postgres", "install", "12", "--if-needed").stdout
    assert said.startswith("PostgreSQL ")
    assert sorted(POSTGRES_HOME.iterdir()) == there


@pytest.mark.parametrize(
    "words",
    [
        ("postgres", "install"),
        ("postgres", "install", "x"),
        ("postgres", "rm", "1", "2"),
        ("postgres", "ls", "13"),
        ("postgres", "install", "9"),
    ],
)
def test_wrong_words_are_told(common: Terminal, words: tuple[str, ...]) -> None:
    assert "hint: " in common(*words, exit_code=2).stderr
