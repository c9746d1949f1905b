"""Programs in Python use the engine that commands use, and find the same states."""

import subprocess
import sys

from tests.acceptance.conftest import Shared

PROGRAM = """
from pathlib import Path
import pgstrata

with pgstrata.Client() as client:
    recipe = pgstrata.psql("schema.sql").then(Path("seed.sql"), "insert into t values (3)")
    with client.instance(recipe) as db, db.connect() as connection:
        assert connection.execute("select sum(a) from t").fetchone() == (6,)
        connection.execute("delete from t")
        connection.commit()
        db.reset()
        assert client.instances.get(db.id).state_id == db.state_id
    assert db.state_id == client.build(recipe)
    assert not list(client.instances.list())
    on_top = pgstrata.state(db.state_id).then("insert into t values (4)")
    with client.instance(on_top) as db, db.connect() as connection:
        assert connection.execute("select sum(a) from t").fetchone() == (10,)
    with client.instance(pgstrata.state(db.state_id[:12])) as again:
        assert again.state_id == db.state_id == client.build(pgstrata.state(db.state_id))
    whole = recipe.then("insert into t values (4)")
    assert client.explain(whole).decision == "hit"
    in_two = pgstrata.Recipe(pgstrata.psql().then("insert into t values (4)").request, recipe)
    assert client.build(in_two) == client.build(whole)
    print(client.build(recipe))
"""


def test_a_program_starts_the_engine_and_leads_to_the_states_of_the_command_line(
    shared: Shared,
) -> None:
    shared.write("schema.sql", "create table t (a int);")
    shared.write("seed.sql", "insert into t values (1), (2);")
    shared.stop()
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        text=True,
        capture_output=True,
        cwd=shared.work,
        env=shared.environment,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    words = ("-f", "schema.sql", "-f", "seed.sql", "-c", "insert into t values (3)")
    found = shared.json("cache", "explain", "prepare:psql", "--", *words)
    assert (found["decision"], found["matched_state_id"]) == ("hit", ended.stdout.strip())


def test_a_program_for_asyncio_starts_the_engine_as_well(shared: Shared) -> None:
    shared.stop()
    program = """
import asyncio
import pgstrata

async def main():
    async with pgstrata.AsyncClient() as client:
        async with client.instance(pgstrata.psql().then("create table t ()")) as db:
            async with await db.connect_async() as connection:
                await connection.execute("select * from t")
        assert [entry async for entry in client.instances.list()] == []

asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        text=True,
        capture_output=True,
        env=shared.environment,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_importing_the_package_imports_nothing_else() -> None:
    program = "import sys; before = {*sys.modules}; import pgstrata; print({*sys.modules} - before)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "{'pgstrata'}\n"
