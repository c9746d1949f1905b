"""What of a store the superuser of an instance gets at."""

import stat
from pathlib import Path

import psycopg
import pytest

from tests import needs
from tests.acceptance.conftest import Terminal

PRIVATE = ("bases", "states")
PASSABLE = ("building", "instances", "work")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_states_are_the_engines_alone_and_nobody_can_list_instances(pgstrata: Terminal) -> None:
    """A store that was made by an earlier version, or opened by its owner, is shut again."""
    for name in (*PRIVATE, *PASSABLE):
        (pgstrata.store / name).mkdir(parents=True, exist_ok=True)
        (pgstrata.store / name).chmod(0o777)
    pgstrata.store.chmod(0o777)
    pgstrata("status")
    assert mode(pgstrata.store) == 0o755
    assert {mode(pgstrata.store / name) for name in PRIVATE} == {0o700}
    assert {mode(pgstrata.store / name) for name in PASSABLE} == {0o711}


@needs.root
@pytest.mark.parametrize("level", ["auto", "off"])
def test_an_instance_reaches_no_state_and_nothing_of_its_own_but_its_data(
    level: str, pgstrata: Terminal
) -> None:
    """Where servers run as the engine's own user, only their cell can see to that."""
    pgstrata.environment["PGSTRATA_SANDBOX_LEVEL"] = level
    dsn = pgstrata.prepare("-c", "create table t as select 1 as n")
    [state] = (pgstrata.store / "states").iterdir()
    [base] = (pgstrata.store / "bases").iterdir()
    [instance] = (pgstrata.store / "instances").iterdir()
    beside = [path for path in instance.iterdir() if path.is_dir() and path.name != "data"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        # What it may do anywhere, it may do where it lives.
        [(own,)] = connection.execute("show data_directory").fetchall()
        connection.execute(f"copy (select 1) to '{own}/planted'")
        for place in (state / "data", base / "data", *beside, *(path / "upper" for path in beside)):
            with pytest.raises(psycopg.Error):
                connection.execute("select pg_ls_dir(%s)", (str(place),))
            with pytest.raises(psycopg.Error):
                connection.execute(f"copy (select 1) to '{place}/planted'")
        for place in (pgstrata.store, *(pgstrata.store / name for name in (*PRIVATE, *PASSABLE))):
            # Its cell may show it the ways to its own directories, which it knows.
            assert listed(connection, place) <= {"instances", instance.name, "run"}
    assert not list(pgstrata.store.glob("[bs]*/**/planted"))


def listed(connection: psycopg.Connection, directory: Path) -> set[str]:
    """What a server can list."""
    try:
        return {name for (name,) in connection.execute("select pg_ls_dir(%s)", (str(directory),))}
    except psycopg.Error:
        return set()
