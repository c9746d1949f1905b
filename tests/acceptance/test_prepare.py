"""The main job, as a user does it: pgstrata prepare:psql, and what comes with it."""

import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy

from tests.acceptance.conftest import Terminal

SCHEMA = "create table book (id int primary key, title text not null);\n"
SEED = "insert into book select n, 'book ' || n from generate_series(1, 100) n;\n"


@pytest.fixture
def pgstrata(shared: Terminal) -> Terminal:
    """A shell that need not be the first in its store."""
    return shared


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query).fetchall()


def library(pgstrata: Terminal) -> tuple[str, ...]:
    """A recipe of three steps."""
    pgstrata.write("schema.sql", SCHEMA)
    pgstrata.write("seed.sql", SEED)
    return (
        "-f",
        "schema.sql",
        "-f",
        "seed.sql",
        "-c",
        "create view titles as select title from book",
    )


def test_a_newcomer_gets_a_database_from_an_engine_that_starts_by_itself(
    pgstrata: Terminal,
) -> None:
    dsn = pgstrata.prepare(*library(pgstrata))
    assert rows(dsn, "select count(*) from titles") == [(100,)]
    assert pgstrata.engine_file()["endpoint"].startswith("http://127.0.0.1:")


def test_the_dsn_works_with_psql_psycopg_and_sqlalchemy(pgstrata: Terminal) -> None:
    dsn = pgstrata.prepare(*library(pgstrata))
    assert rows(dsn, "select 1") == [(1,)]
    engine = sqlalchemy.create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select count(*) from book")).scalar() == 100
    engine.dispose()
    [usable, *_] = pgstrata.json("status")["runtime"]["installations"]
    psql = Path(usable["bin_dir"], "psql")
    words: list[str | Path] = [psql, "-X", "-At", "-c", "select count(*) from book", dsn]
    shown = subprocess.run(words, text=True, capture_output=True, check=True)
    assert shown.stdout == "100\n"


def test_progress_goes_to_stderr_and_tells_cached_steps_from_built_ones(
    pgstrata: Terminal,
) -> None:
    words = ("prepare:psql", "--", *library(pgstrata))
    first = pgstrata(*words)
    second = pgstrata(*words)
    assert first.stderr.count("built") == 3
    assert second.stderr.count("cached") == 3
    for ended in (first, second):
        assert ended.stdout.startswith("DSN=postgresql://")
        assert ended.stdout.count("\n") == 1
        assert "\x1b" not in ended.stderr


def test_instances_of_one_state_are_independent_and_may_be_ruined(pgstrata: Terminal) -> None:
    recipe = library(pgstrata)
    one, other = pgstrata.prepare(*recipe), pgstrata.prepare(*recipe)
    with psycopg.connect(one, autocommit=True) as connection:
        connection.execute("drop table book cascade")
    assert rows(other, "select count(*) from book") == [(100,)]
    assert rows(pgstrata.prepare(*recipe), "select count(*) from book") == [(100,)]


def test_a_changed_last_step_builds_only_that_step(pgstrata: Terminal) -> None:
    recipe = library(pgstrata)
    pgstrata.prepare(*recipe)
    changed = (*recipe[:-1], "create view titles as select upper(title) from book")
    said = pgstrata("prepare:psql", "--", *changed).stderr
    assert said.count("cached") == 2
    assert said.count("built") == 1


def test_a_plan_tells_what_is_cached_and_changes_nothing(pgstrata: Terminal) -> None:
    recipe = library(pgstrata)
    before = pgstrata.json("plan:psql", "--", *recipe)
    steps = [task for task in before["tasks"] if task["type"] == "state_execute"]
    assert [task["cached"] for task in steps] == [False, False, False]
    assert pgstrata.json("ls", "-s")["states"] == []
    pgstrata.prepare(*recipe)
    after = pgstrata.json("plan:psql", "--", *recipe)
    again = [task for task in after["tasks"] if task["type"] == "state_execute"]
    assert [task["cached"] for task in again] == [True, True, True]
    assert [task["output_state_id"] for task in again] == [
        task["output_state_id"] for task in steps
    ]
    assert len(pgstrata.json("ls", "-i")["instances"]) == 1


def test_standard_input_is_a_step_where_f_dash_stands(pgstrata: Terminal) -> None:
    pgstrata.write("schema.sql", SCHEMA)
    dsn = pgstrata.prepare("-f", "schema.sql", "-f", "-", stdin=SEED)
    assert rows(dsn, "select count(*) from book") == [(100,)]


def test_includes_and_copied_files_are_part_of_what_is_cached(pgstrata: Terminal) -> None:
    pgstrata.write("parts/table.sql", "create table t (a int);\n")
    pgstrata.write("parts/data.csv", "1\n2\n")
    pgstrata.write("parts/all.sql", "\\ir table.sql\n\\copy t from 'parts/data.csv'\n")
    recipe = ("-f", "parts/all.sql")
    assert rows(pgstrata.prepare(*recipe), "select sum(a) from t") == [(3,)]
    pgstrata.write("parts/data.csv", "10\n20\n")
    assert rows(pgstrata.prepare(*recipe), "select sum(a) from t") == [(30,)]
    pgstrata.write("parts/table.sql", "create table t (a bigint);\n")
    dsn = pgstrata.prepare(*recipe)
    assert rows(dsn, "select pg_typeof(a)::text from t limit 1") == [("bigint",)]


def test_variables_reach_psql_and_are_part_of_what_is_cached(pgstrata: Terminal) -> None:
    pgstrata.write("v.sql", "create table v as select :'who' as who;\n")
    for who in ("ada", "bob"):
        dsn = pgstrata.prepare("-v", f"who={who}", "-f", "v.sql")
        assert rows(dsn, "select who from v") == [(who,)]


def test_roles_and_other_databases_are_part_of_a_state(pgstrata: Terminal) -> None:
    recipe = ("-c", "create role reader", "-c", "create database second")
    dsn = pgstrata.prepare(*recipe)
    pgstrata.prepare(*recipe)
    assert rows(dsn, "select count(*) from pg_roles where rolname = 'reader'") == [(1,)]
    second = urlsplit(dsn)._replace(path="/second").geturl()
    assert rows(second, "select current_database()") == [("second",)]


def test_a_named_instance_is_listed_by_name_and_removed_by_name(pgstrata: Terminal) -> None:
    pgstrata.write("schema.sql", SCHEMA)
    pgstrata("prepare:psql", "--name", "mine", "--", "-f", "schema.sql")
    assert "mine" in pgstrata("ls").stdout
    taken = pgstrata("prepare:psql", "--name", "mine", "--", "-f", "schema.sql", exit_code=4)
    assert "mine" in taken.stderr
    pgstrata("rm", "mine")
    assert pgstrata.json("ls", "-i")["instances"] == []


def test_a_name_keeps_its_dsn_until_it_is_given_up(pgstrata: Terminal) -> None:
    def prepare(*options: str) -> str:
        words = ("prepare:psql", "--name", "kept", *options, "--", "-c", "create table t (a int)")
        return pgstrata(*words).stdout

    dsn = prepare()
    assert prepare("--replace") == dsn
    pgstrata("rm", "kept")
    [name] = [each for each in pgstrata.json("ls", "-n")["names"] if each["name"] == "kept"]
    assert (name["name"], name["status"], name["instance_id"]) == ("kept", "missing", None)
    pgstrata("engine", "stop")
    assert prepare() == dsn
    whole = pgstrata("dsn", "kept").stdout.strip()
    assert dsn == f"DSN={whole}\n"
    rows(whole, "insert into t values (1) returning a")
    assert pgstrata("reset", "kept").stdout == dsn
    assert rows(whole, "select count(*) from t") == [(0,)]
    pgstrata("rm", "kept")
    pgstrata("rm", "--dry-run", "kept")
    pgstrata("rm", "kept")
    pgstrata("rm", "kept", exit_code=1)


def test_states_are_removed_with_what_stems_from_them_only_when_asked(
    pgstrata: Terminal,
) -> None:
    pgstrata.prepare(*library(pgstrata))
    root = next(
        state for state in pgstrata.json("ls", "-s")["states"] if state["parent_state_id"] is None
    )
    refused = pgstrata("rm", root["state_id"][:12], exit_code=4)
    assert "-r" in refused.stderr
    pgstrata("rm", "-r", "--dry-run", root["state_id"][:12])
    assert len(pgstrata.json("ls", "-s")["states"]) == 3
    pgstrata("rm", "-r", root["state_id"][:12])
    listed = pgstrata.json("ls", "--all")
    assert listed["states"] == []
    assert listed["instances"] == []


def test_an_instance_someone_is_connected_to_is_removed_only_by_force(
    pgstrata: Terminal,
) -> None:
    dsn = pgstrata.prepare("-c", "select 1")
    [instance] = pgstrata.json("ls", "-i")["instances"]
    with psycopg.connect(dsn):
        assert "connect" in pgstrata("rm", instance["instance_id"], exit_code=4).stderr
        pgstrata("rm", "-f", instance["instance_id"])
    assert pgstrata.json("ls", "-i")["instances"] == []


def test_a_job_goes_on_without_a_watcher_and_can_be_watched_later(pgstrata: Terminal) -> None:
    started = pgstrata("prepare:psql", "--no-watch", "--", "-c", "select pg_sleep(0.3)")
    name, _, job_id = started.stdout.strip().partition("=")
    assert name == "JOB"
    assert pgstrata("watch", job_id).stdout.startswith("DSN=")


def test_what_cannot_be_known_is_refused_with_its_line_or_run_every_time(
    pgstrata: Terminal,
) -> None:
    pgstrata.write("today.sql", "create table t (a text);\n\\set now `date`\n")
    refused = pgstrata("prepare:psql", "--", "-f", "today.sql", exit_code=2)
    assert "today.sql:2" in refused.stderr
    assert "--uncacheable" in refused.stderr
    words = ("prepare:psql", "--uncacheable=run", "--", "-f", "today.sql")
    assert "built" in pgstrata(*words).stderr
    assert "built" in pgstrata(*words).stderr


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_each_major_version_has_states_of_its_own(pgstrata: Terminal, every: bool) -> None:
    installed = pgstrata.json("status")["runtime"]["installations"]
    majors = sorted({one["major"] for one in installed if "problem" not in one})
    if not every:
        majors = [majors[0], majors[-1]]
    for major in majors:
        said = pgstrata("prepare:psql", "--image", f"postgres:{major}", "--", "-c", "select 1")
        assert "built" in said.stderr
        dsn = said.stdout.strip().removeprefix("DSN=")
        [(version,)] = rows(dsn, "show server_version_num")
        assert int(str(version)) // 10000 == major
    assert len(pgstrata.json("ls", "-s")["states"]) == len({*majors}) > 1


CHINOOK = Path(__file__).parents[3] / "shared" / "data" / "chinook.sql"


@pytest.mark.skipif(not CHINOOK.exists(), reason="the Chinook script is not at hand")
def test_a_real_schema_that_makes_and_enters_its_own_database(pgstrata: Terminal) -> None:
    dsn = pgstrata.prepare("-q", "-f", CHINOOK)
    chinook = urlsplit(dsn)._replace(path="/chinook").geturl()
    bands = "select count(*) from album join artist using (artist_id) where name like 'A%'"
    assert rows(chinook, "select count(*) from track") == [(3503,)]
    assert rows(chinook, bands) > [(0,)]
    assert "cached" in pgstrata("prepare:psql", "--", "-q", "-f", CHINOOK).stderr


WHOLE_CLUSTER = """
create role maria login password 'x';
create database shop owner maria;
alter database shop set work_mem = '7MB';
alter system set maintenance_work_mem = '99MB';
create unlogged table quick as select generate_series(1, 1000) as a;
create extension if not exists plpgsql;
select lo_from_bytea(4711, 'large');
create sequence counting; select nextval('counting') from generate_series(1, 5);
\\c shop
create unlogged table quick as select generate_series(1, 2000) as a;
"""


@pytest.mark.parametrize(
    "consistency", [pytest.param("auto", marks=pytest.mark.slow), "clean", "crash"]
)
def test_all_of_a_cluster_is_in_every_state_of_it(pgstrata: Terminal, consistency: str) -> None:
    pgstrata.environment["PGSTRATA_SNAPSHOT_CONSISTENCY"] = consistency
    pgstrata.write("all.sql", WHOLE_CLUSTER)
    # The first state is made between two steps, the last after them all.
    for steps in (("-f", "all.sql", "-c", "create table after (a int)"), ("-f", "all.sql")):
        dsn = pgstrata.prepare(*steps)
        assert rows(dsn, "select count(*) from quick") == [(1000,)]
        assert rows(dsn, "select nextval('counting')") == [(6,)]
        assert rows(dsn, "select encode(lo_get(4711), 'escape')") == [("large",)]
        assert rows(dsn, "show maintenance_work_mem") == [("99MB",)]
        assert rows(dsn, "select rolcanlogin from pg_roles where rolname = 'maria'") == [(True,)]
        shop = dsn.removesuffix("/postgres") + "/shop"
        assert rows(shop, "select count(*) from quick") == [(2000,)]
        assert rows(shop, "show work_mem") == [("7MB",)]


def test_a_setting_changed_by_one_step_holds_in_the_next_cached_or_not(pgstrata: Terminal) -> None:
    change = ("-c", "alter system set work_mem = '9MB'")
    note = ("-c", "create table noted as select current_setting('work_mem') as work_mem")
    assert rows(pgstrata.prepare(*change, *note), "select * from noted") == [("9MB",)]
    again = ("-c", "create table later as select current_setting('work_mem') as work_mem")
    assert rows(pgstrata.prepare(*change, *again), "select * from later") == [("9MB",)]


def test_what_a_step_draws_from_a_sequence_is_the_same_cached_or_not(pgstrata: Terminal) -> None:
    before = ("-c", "create table t (n serial, x int)", "-c", "insert into t (x) values (7)")
    pgstrata.prepare(*before, "-c", "insert into t (x) values (8)")
    for last in ("insert into t (x) values (9), (10)", "table t"):
        with psycopg.connect(pgstrata.prepare(*before, "-c", last)) as client:
            client.execute("insert into t (x) values (11)")
            drawn = client.execute("select n from t order by n").fetchall()
        assert drawn == [(n,) for n in range(1, len(drawn) + 1)]


def test_states_between_steps_are_whole_while_a_server_writes(pgstrata: Terminal) -> None:
    fill = "insert into t select generate_series(1, 20000), md5(random()::text)"
    steps = ["-c", "create table t (a int, b text)", *["-c", fill, "-c", "checkpoint"] * 3]
    pgstrata.prepare(*steps)
    for number in range(2, len(steps), 2):
        dsn = pgstrata.prepare(*steps[:number])
        expected = 20000 * steps[:number].count(fill)
        assert rows(dsn, "select count(*), count(distinct b) from t") == [(expected, expected)]
