"""What an engine says of its servers' cells, and what it does without them."""

from pathlib import Path

import psycopg
import pytest

from pgstrata.system.cell import levels
from pgstrata.system.cell.spawning import Spawner
from tests import needs
from tests.acceptance.conftest import Terminal
from tests.clusters import connected

PROGRAM = "copy (select 1) to program 'cat > /dev/null'"


@pytest.mark.parametrize(("level", "runs"), [("off", True), ("partial", False)])
def test_a_lower_level_is_in_the_status_and_in_each_jobs_log(
    pgstrata: Terminal, level: str, runs: bool
) -> None:
    pgstrata.environment["PGSTRATA_SANDBOX_LEVEL"] = level
    done = pgstrata("-v", "prepare:psql", "--", "-c", "select 1", "-c", "select 2")
    assert (done.stdout + done.stderr).count(f"the sandbox is {level}") == 1
    status = pgstrata.json("status")["sandbox"]
    assert status["level"] == level
    assert any("Unix sockets of others" in attack for attack in status["open_attacks"])
    with connected(done.stdout.strip().removeprefix("DSN=")) as connection:
        if runs:
            connection.execute(PROGRAM)
        else:
            with pytest.raises(psycopg.Error):
                connection.execute(PROGRAM)


def test_a_higher_level_is_in_the_status(pgstrata: Terminal) -> None:
    spawner = Spawner(Path("/"))
    means = levels.probe(spawner, None)
    spawner.close()
    if not means.network:
        needs.missing(f"there are no cells here: {means.missing}")
    pgstrata.environment["PGSTRATA_SANDBOX_LEVEL"] = "strict"
    done = pgstrata("-v", "prepare:psql", "--", "-c", "select 1")
    assert "sandbox" not in done.stdout + done.stderr
    assert pgstrata.json("status")["sandbox"]["level"] == "strict"
    with connected(done.stdout.strip().removeprefix("DSN=")) as connection:
        assert connection.execute("select inet_client_addr()::text").fetchone() == ("127.0.0.1/32",)


def test_where_nothing_stays_open_no_job_speaks_of_it(pgstrata: Terminal) -> None:
    if pgstrata.json("status")["sandbox"]["level"] != "basic":
        needs.missing("there are no cells here")
    done = pgstrata("-v", "prepare:psql", "--", "-c", "select 1")
    assert "sandbox" not in done.stdout + done.stderr
