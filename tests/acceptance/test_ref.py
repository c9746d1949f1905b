"""``--ref``: databases of revisions, side by side with those of the files."""

import os
import shutil
import subprocess
from pathlib import Path

import psutil
import psycopg

from tests import needs
from tests.acceptance.conftest import Terminal
from tests.liquibase import liquibase_home


def git(pgstrata: Terminal, *words: str) -> None:
    if shutil.which("git") is None:
        needs.missing("git")
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(pgstrata.home)}
    own = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(
        ["git", *own, *words], cwd=pgstrata.work, env=env, check=True, capture_output=True
    )


def commit(pgstrata: Terminal, name: str) -> None:
    git(pgstrata, "init", "-q")
    git(pgstrata, "add", "-A")
    git(pgstrata, "commit", "-qm", name)
    git(pgstrata, "tag", name)


def state_of(pgstrata: Terminal, *words: str) -> str:
    result = pgstrata.json(*words)
    state: str = result["state_id"]
    return state


def test_a_revision_has_the_states_of_its_files_with_includes_and_copy(shared: Terminal) -> None:
    shared.write("db/all.sql", "\\ir parts/t.sql\n\\copy t from 'db/rows.csv'\n")
    shared.write("db/parts/t.sql", "create table t(a int);\n")
    shared.write("db/rows.csv", "1\n2\n")
    recipe = ("--", "-f", "db/all.sql")
    commit(shared, "v1")
    before = state_of(shared, "prepare:psql", *recipe)
    shared.write("db/parts/t.sql", "create table t(a int, b int);\n")
    shared.write("db/rows.csv", "1\t2\n")
    (shared.work / "db" / "all.sql").unlink()
    assert "cached" in shared("plan:psql", "--ref", "v1", *recipe).stdout
    assert state_of(shared, "prepare:psql", "--ref", "v1", *recipe) == before
    shared("rm", "-r", "-f", before)
    built = shared.json("prepare:psql", "--ref", "v1", *recipe)
    assert built["state_id"] == before
    with psycopg.connect(built["dsn"]) as connection:
        assert connection.execute("select * from t order by a").fetchall() == [(1,), (2,)]
    explained = shared("cache", "explain", "prepare:psql", "--ref", "v1", *recipe)
    assert explained.stdout.startswith("hit: ")

    refused = shared("prepare:psql", "--ref", "v1", "--", "-f", "db/new.sql", exit_code=2)
    assert "db/new.sql" in refused.stderr
    assert "no revision" in shared("plan:psql", "--ref", "v9", *recipe, exit_code=2).stderr


def test_a_command_sees_the_revision_and_nothing_of_the_files(shared: Terminal) -> None:
    program = (
        "#!/bin/sh\nset -e\ntest ! -e new.sql\ntest ! -e ../other.sql\ncat sql/*.sql | psql -qX\n"
    )
    shared.write("app/run.sh", program).chmod(0o755)
    shared.write("app/sql/t.sql", "create table t(a int);\n")
    shared.write("base.sql", "select 1;\n")
    (shared.work / "app" / "sql" / "link.sql").symlink_to("../../base.sql")
    shared.write("other.sql", "")
    commit(shared, "v1")
    recipe = ("--input", "run.sh", "--input", "sql", "--", "./run.sh")
    (shared.work / "other.sql").unlink()
    shared.work /= "app"
    before = state_of(shared, "prepare:exec", *recipe)
    shared("rm", "-r", "-f", before)
    shared.write("new.sql", "")
    shared.write("../other.sql", "")
    shared.write("sql/t.sql", "create table another(a int);\n")
    shared.write("sql/more.sql", "select nonsense;\n")
    shared.write("run.sh", "#!/bin/sh\nexit 3\n")
    built = shared.json("prepare:exec", "--ref", "v1", *recipe)
    assert built["state_id"] == before
    with psycopg.connect(built["dsn"]) as connection:
        assert connection.execute("select * from t").fetchall() == []
    assert "cached" in shared("plan:exec", "--ref", "HEAD", *recipe).stdout
    # The shell is the machine's.
    shared("prepare:exec", "--ref", "v1", *recipe[:-1], "sh", "run.sh")
    assert (shared.work / "run.sh").read_text() == "#!/bin/sh\nexit 3\n"

    unnamed = shared("prepare:exec", "--ref", "v1", "--", "true", exit_code=2)
    assert "--input" in unnamed.stderr
    missing = ("--ref", "v1", "--input", "sql/more.sql", "--", "./run.sh")
    assert "in that revision" in shared("plan:exec", *missing, exit_code=2).stderr
    unknown = shared("prepare:exec", "--ref", "v9", *recipe, exit_code=2)
    assert "no revision" in unknown.stderr


def test_a_changelog_of_a_revision_has_the_states_of_its_files(shared: Terminal) -> None:
    shared.environment["PGSTRATA_LIQUIBASE_HOME"] = str(liquibase_home())
    changeset = "--liquibase formatted sql\n--changeset a:1\ncreate table t(a int);\n"
    shared.write("changes/one.sql", changeset)
    shared.write("all.yaml", "databaseChangeLog:\n- include: {file: changes/one.sql}\n")
    recipe = ("--", "update", "--changelog-file=all.yaml")
    commit(shared, "v1")
    shared.write("changes/one.sql", changeset.replace("a int", "a text"))
    built = state_of(shared, "prepare:lb", "--ref", "v1", *recipe)
    git(shared, "checkout", "-q", "--", ".")
    assert state_of(shared, "prepare:lb", *recipe) == built


def test_a_tool_is_run_with_the_files_of_a_revision(shared: Terminal, tmp_path: Path) -> None:
    shared.write("report/all.sql", "\\i rows.sql\n\\! pwd\n")
    shared.write("report/rows.sql", "select 'before';\n")
    shared.write("report/all.run.pgstrata.yaml", "kind: psql\nargs: [-qAtX, -f, all.sql]\n")
    commit(shared, "v1")
    shared.write("report/rows.sql", "select 'after';\n")
    shared.environment["TMPDIR"] = str(tmp_path)
    prepare = ("prepare:psql", "--name", "reported", "-c", "select 1")
    told = shared(
        *prepare[:1], *prepare[3:], "run:psql", "--ref", "v1", "-qAtX", "-f", "report/rows.sql"
    )
    assert told.stdout == "before\n"
    shared(*prepare)
    named = ("--instance", "reported")
    [said, directory] = shared("run", "all", "--ref", "v1", *named).stdout.splitlines()
    assert said == "before"
    assert directory.startswith(f"{tmp_path}/")
    assert list(tmp_path.iterdir()) == []
    assert shared("run", "all", *named).stdout == f"after\n{shared.work}/report\n"
    failed = shared("run:exec", "--ref", "v1", *named, "--", "sh", "-c", "exit 7", exit_code=7)
    assert failed.stdout == ""

    absolute = ("--ref", "v1", *named, "-f", str(shared.work / "report" / "rows.sql"))
    assert "write its path from" in shared("run:psql", *absolute, exit_code=2).stderr
    unknown = shared("run:psql", "--ref", "v9", *named, "-c", "select 1", exit_code=2)
    assert "no revision" in unknown.stderr
    shared.work = tmp_path
    nowhere = shared("run:psql", "--ref", "v1", *named, "-c", "select 1", exit_code=2)
    assert "git repository" in nowhere.stderr


def test_what_a_killed_engine_left_of_a_revision_goes_when_the_next_one_starts(
    pgstrata: Terminal,
) -> None:
    temporary = pgstrata.home / "tmp"
    temporary.mkdir()
    pgstrata.environment["TMPDIR"] = str(temporary)
    pgstrata.write("slow.sql", "do $$ begin perform pg_sleep(600); end $$;\n")
    commit(pgstrata, "v1")
    pgstrata("prepare:psql", "--ref", "v1", "--no-watch", "--", "-f", "slow.sql")
    pgstrata.statement_of_a_step()
    [left] = temporary.glob("pgstrata-sources-*")
    engine = psutil.Process(pgstrata.engine_file()["pid"])
    engine.kill()
    engine.wait()
    assert left.exists()
    pgstrata("engine", "start", exit_code=None)
    assert not left.exists()
