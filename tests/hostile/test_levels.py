"""What an engine says of its servers' cells, and what it does without them."""

import psycopg
import pytest

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


def test_where_nothing_stays_open_no_job_speaks_of_it(pgstrata: Terminal) -> None:
    if pgstrata.json("status")["sandbox"]["level"] != "basic":
        needs.missing("there are no cells here")
    done = pgstrata("-v", "prepare:psql", "--", "-c", "select 1")
    assert "sandbox" not in done.stdout + done.stderr
