"""Stores that were damaged by hand, are read-only, or have a database that cannot be used.

Each ends in a clear error or in nothing worse than work done again, and the store works once the
cause is gone.
"""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from tests.filesystems import CannotMountError, give_up, loop_mounted
from tests.resilience.engine import Engine, Json, RefusedError
from tests.resilience.kills import rows_of
from tests.resilience.stores import (
    RECIPE,
    check_it_works,
    check_nothing_is_left,
    prepared,
    remove_instances,
    started,
    store_in,
)


def states_of(engine: Engine) -> list[Path]:
    """The places of the states, the first step's first."""
    ids = [state["state_id"] for state in engine.ask("GET", "/v1/states")]
    return [engine.store / "states" / state_id for state_id in ids]


# Damage done by hand


def emptied(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir()


def replaced(file: Path, length: int) -> None:
    """Cut a file short under its name alone: states may share it by hard links."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:length])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "its marker is gone": lambda place: (place / "marker").unlink(),
    "its marker names another": lambda place: (place / "marker").write_bytes(b"{}"),
    "PG_VERSION is gone": lambda place: (place / "data/PG_VERSION").unlink(),
    "PG_VERSION is empty": lambda place: replaced(place / "data/PG_VERSION", 0),
    "pg_control is cut": lambda place: replaced(place / "data/global/pg_control", 10),
    "a pid file is left": lambda place: (place / "data/postmaster.pid").write_text("1\n"),
    "its data is gone": lambda place: shutil.rmtree(place / "data"),
    "it is gone": shutil.rmtree,
    "it is empty": lambda place: emptied(place),
}


def test_a_state_that_was_damaged_is_built_again(engine: Engine) -> None:
    started(engine)
    check_it_works(engine)
    for what, damage in DAMAGES.items():
        last = states_of(engine)[-1]
        damage(last)
        job = prepared(engine)
        assert job["status"] == "succeeded", f"{what}: {job}"
        cached = [task["cached"] for task in job["tasks"] if task["type"] == "state_execute"]
        assert cached == [True, False], what
        remove_instances(engine)
    engine.stop()
    check_it_works(started(engine))


def lost(file: Path) -> None:
    file.unlink()


def flipped(file: Path) -> None:
    """Flip a byte in the middle of a page, as a disk does: nothing else tells of it."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-8] ^= 0xFF  # the end of a row: pages are filled from their end
    with file.open("r+b") as changed:
        changed.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def last_file_of(engine: Engine, job: Json, table: str) -> Path:
    """A table's file in a job's last state; the job's instance is removed."""
    with psycopg.connect(job["result"]["dsn"], connect_timeout=300) as connection:
        row = connection.execute("select pg_relation_filepath(%s::regclass)", (table,)).fetchone()
    assert row is not None
    remove_instances(engine)
    state_id: str = job["result"]["state_id"]
    return engine.store / "states" / state_id / "data" / str(row[0])


WITH_CHECKSUMS = {"initdb": {"data_checksums": True}}

MORE = ("-c", "insert into t select -n from t")


def test_damage_that_only_a_server_notices_is_mended_and_told_in_the_jobs_log(
    engine: Engine,
) -> None:
    started(engine)
    cases: tuple[tuple[Callable[[Path], object], str, tuple[str, ...]], ...] = (
        (lost, "t", MORE),
        (flipped, "t", MORE),
        (lost, "pg_class", ()),
    )
    for number, (damage, table, more) in enumerate(cases, start=1):
        recipe = ("-c", f"create table t as select {number} as n")
        job = engine.ended(engine.submit(*recipe, **WITH_CHECKSUMS))
        damage(last_file_of(engine, job, table))
        job_id = engine.submit(*recipe, *more, **WITH_CHECKSUMS)
        said = [event["message"] for event in engine.events(job_id) if event["type"] == "log"]
        job = engine.ended(job_id)
        assert job["status"] == "succeeded", f"{damage.__name__} {table}: {job}"
        assert sum("was damaged" in message for message in said) == 1, f"{damage.__name__}: {said}"
        assert rows_of(job) == ([number, -number] if more else [number])
        remove_instances(engine)
    # Where nobody complains, because nobody has read it yet, a deep check does.
    job = engine.ended(engine.submit(*RECIPE, **WITH_CHECKSUMS))
    flipped(last_file_of(engine, job, "t"))
    checks = engine.lines("POST", "/v1/cache/verify?deep=true&repair=true")
    problems = [one["state_id"] for one in checks if one.get("problem")]
    assert problems == [job["result"]["state_id"]]
    check_nothing_is_left(engine)


def test_damage_that_a_client_of_an_instance_meets_is_mended_for_the_next(engine: Engine) -> None:
    started(engine)
    for number, damage in enumerate((lost, flipped), start=1):
        recipe = ("-c", f"create table t as select {number} as n")
        request: Json = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": recipe}
        request |= WITH_CHECKSUMS
        damage(last_file_of(engine, engine.ended(engine.submit(*recipe, **WITH_CHECKSUMS)), "t"))
        # Nobody reads the table until a client does.
        job = engine.ended(engine.submit(*recipe, **WITH_CHECKSUMS))
        assert [task.get("cached") for task in job["tasks"] if "cached" in task] == [True]
        with pytest.raises(psycopg.Error):
            rows_of(job)
        deadline = time.monotonic() + 300
        while engine.ask("POST", "/v1/cache/explain/prepare", request)["decision"] == "hit":
            assert time.monotonic() < deadline
        remove_instances(engine)
        assert rows_of(engine.ended(engine.submit(*recipe, **WITH_CHECKSUMS))) == [number]
        remove_instances(engine)
    check_nothing_is_left(engine)


def test_a_base_state_that_was_damaged_is_made_again(engine: Engine) -> None:
    started(engine)
    check_it_works(engine)
    for what, damage in DAMAGES.items():
        [base] = (engine.store / "bases").iterdir()
        damage(base)
        job = prepared(engine, "-c", f"create table t as select '{what}' as n")
        assert job["status"] == "succeeded", f"{what}: {job}"
        remove_instances(engine)
    check_it_works(engine)


def test_directories_of_a_store_that_somebody_removed_are_made_again(engine: Engine) -> None:
    # Nobody can remove what a server works in while it waits.
    check_it_works(started(engine, {"PGSTRATA_POOL_MAX": "0"}))
    # Sockets are elsewhere if the path of the store is none for them.
    sockets = ("run",) if (engine.store / "run").exists() else ()
    areas = (*sockets, "bases", "building", "states", "work", "instances")
    for missing in (*((area,) for area in areas), areas):
        modes = {area: (engine.store / area).stat().st_mode for area in missing}
        for area in missing:
            while (engine.store / area).exists():
                # The engine may still be removing something in it.
                shutil.rmtree(engine.store / area, ignore_errors=True)
        check_it_works(engine)
        assert {area: (engine.store / area).stat().st_mode for area in missing} == modes


# The database


def refused(engine: Engine) -> str:
    """What an engine says that does not start."""
    said = len(engine.said)
    assert not engine.start()
    return "\n".join(engine.said[said:])


def test_a_database_of_a_newer_version_or_none_at_all_is_refused_and_left_alone(
    engine: Engine,
) -> None:
    check_it_works(started(engine))
    engine.stop()
    database = engine.store / "pgstrata.db"
    kept = database.read_bytes()
    for content, words in (
        (newer(kept, engine.store.parent / "newer.db"), "schema version"),
        (kept[: len(kept) // 2], "damaged"),
        (b"Dear diary, " * 400, "not a database"),
    ):
        database.write_bytes(content)
        said = refused(engine)
        assert str(database) in said
        assert words in said
        assert "Traceback" not in said
        for log in engine.store.glob("pgstrata.db-*"):
            log.unlink()
    database.write_bytes(kept)
    check_it_works(started(engine))


def newer(content: bytes, scratch: Path) -> bytes:
    scratch.write_bytes(content)
    with closing(sqlite3.connect(scratch)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA user_version = 9999")
    return scratch.read_bytes()


def test_a_database_that_another_program_keeps_locked_is_told_of_and_then_works(
    engine: Engine,
) -> None:
    started(engine)
    with closing(sqlite3.connect(engine.store / "pgstrata.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RefusedError) as refusal:
            engine.submit(*RECIPE)
        assert "locked by another program" in refusal.value.body["message"]
    check_it_works(engine)


def test_a_read_only_store_is_refused_with_its_name(reachable_dir: Path) -> None:
    try:
        with loop_mounted("ext4", 400 << 20, reachable_dir) as disk:
            disk.chmod(0o711)
            with store_in(disk) as engine:
                check_it_works(started(engine))
                engine.stop()
                assert os.system(f"mount -o remount,ro {disk}") == 0
                said = refused(engine)
                assert str(engine.store) in said
                assert "read-only" in said.lower()
                assert "Traceback" not in said
                assert os.system(f"mount -o remount,rw {disk}") == 0
                check_it_works(started(engine))
                engine.stop()
    except CannotMountError as error:
        give_up(error)
