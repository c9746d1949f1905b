"""What every dbms tells of data directories and servers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.dbms.postgres import Postgres
from pgstrata.domain.instance import Server
from pgstrata.errors import ServerError, StateUnusableError
from tests.clusters import MemoryRig, Rig, rig_below
from tests.servers import data_dir_of


@pytest.fixture(
    scope="module",
    params=["memory", "native 15", pytest.param("native 16", marks=pytest.mark.slow), "native 18"],
)
def rig(request: pytest.FixtureRequest, reachable_dir: Path) -> Iterator[Rig]:
    adapter, _, version = request.param.partition(" ")
    if adapter == "memory":
        yield MemoryRig()
        return
    with rig_below(reachable_dir / f"dbms-{version}", version) as rig:
        yield rig


@pytest.fixture
def server(rig: Rig) -> Iterator[Server]:
    server = asyncio.run(rig.runtime.start(rig.image, rig.cluster()))
    yield server
    asyncio.run(rig.runtime.stop(server, clean=False))


def defect(rig: Rig, data_dir: Path) -> str:
    """The defect found, or nothing."""
    return asyncio.run(rig.dbms.defect(data_dir)) or ""


def test_a_new_cluster_has_no_defect(rig: Rig) -> None:
    assert defect(rig, rig.cluster()) == ""


def test_a_cluster_that_was_stopped_cleanly_has_no_defect(rig: Rig, server: Server) -> None:
    asyncio.run(rig.runtime.stop(server))
    assert defect(rig, data_dir_of(server)) == ""


def test_a_directory_that_is_not_there_is_defective(rig: Rig) -> None:
    assert "no data directory" in defect(rig, rig.empty() / "missing")


def test_a_directory_without_a_version_is_defective(rig: Rig) -> None:
    assert "PG_VERSION is missing" in defect(rig, rig.empty())


def test_an_empty_version_file_is_a_defect(rig: Rig) -> None:
    data_dir = rig.cluster()
    rig.write(data_dir / "PG_VERSION", b"")
    assert "PG_VERSION is empty" in defect(rig, data_dir)


def test_a_left_over_pid_file_is_a_defect(rig: Rig) -> None:
    data_dir = rig.cluster()
    rig.write(data_dir / "postmaster.pid", b"1\n")
    assert "postmaster.pid" in defect(rig, data_dir)


def test_a_cluster_in_use_is_defective(rig: Rig, server: Server) -> None:
    assert "postmaster.pid" in defect(rig, data_dir_of(server))


def test_a_cluster_that_was_stopped_at_once_is_defective(rig: Rig, server: Server) -> None:
    asyncio.run(rig.runtime.stop(server, clean=False))
    assert "not shut down cleanly" in defect(rig, data_dir_of(server))


def test_a_cluster_without_a_control_file_is_defective(rig: Rig) -> None:
    data_dir = rig.cluster()
    rig.remove(data_dir / "global" / "pg_control")
    assert "control file is missing" in defect(rig, data_dir)


def test_a_control_file_cut_short_is_a_defect(rig: Rig) -> None:
    data_dir = rig.cluster()
    rig.write(data_dir / "global" / "pg_control", b"")
    assert "control file is cut short" in defect(rig, data_dir)


def test_a_plain_cluster_can_be_kept_as_a_state(rig: Rig) -> None:
    asyncio.run(rig.dbms.check_snapshot(rig.cluster()))


def test_a_tablespace_elsewhere_is_named(rig: Rig, server: Server) -> None:
    location = rig.add_tablespace(server)
    asyncio.run(rig.runtime.stop(server))
    with pytest.raises(StateUnusableError, match=str(location)):
        asyncio.run(rig.dbms.check_snapshot(data_dir_of(server)))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_other_clients_are_counted(rig: Rig, server: Server, number: int) -> None:
    with rig.clients(server, number):
        assert asyncio.run(rig.dbms.connections(server)) == number


def test_a_server_that_is_gone_cannot_be_asked(rig: Rig, server: Server) -> None:
    asyncio.run(rig.runtime.stop(server))
    with pytest.raises(ServerError, match=str(data_dir_of(server))):
        asyncio.run(rig.dbms.connections(server))


def test_a_cluster_that_is_in_use_is_one_that_recovers(rig: Rig, server: Server) -> None:
    rig.kill(server)
    rig.remove(data_dir_of(server) / "postmaster.pid")
    assert asyncio.run(rig.dbms.defect(data_dir_of(server), recovers=True)) is None


def test_a_cluster_that_was_stopped_cleanly_is_none_that_recovers(rig: Rig) -> None:
    found = asyncio.run(rig.dbms.defect(rig.cluster(), recovers=True))
    assert found == "the cluster was not in use: it is shut down"


def test_what_a_crash_would_empty_is_found(rig: Rig, server: Server) -> None:
    assert asyncio.run(rig.dbms.lost_in_crash(data_dir_of(server))) is None
    rig.add_unlogged(server)
    assert "unlogged" in (asyncio.run(rig.dbms.lost_in_crash(data_dir_of(server))) or "")


def test_settings_that_the_next_start_would_read_are_told(rig: Rig, server: Server) -> None:
    before = asyncio.run(rig.dbms.start_settings(data_dir_of(server)))
    assert asyncio.run(rig.dbms.start_settings(data_dir_of(server))) == before
    rig.write(data_dir_of(server) / "postgresql.auto.conf", b"work_mem = '5MB'\n")
    assert asyncio.run(rig.dbms.start_settings(data_dir_of(server))) != before


def test_a_server_that_is_gone_writes_nothing_out(rig: Rig, server: Server) -> None:
    asyncio.run(rig.dbms.flush(server))
    asyncio.run(rig.runtime.stop(server))
    with pytest.raises(ServerError):
        asyncio.run(rig.dbms.flush(server))


def test_a_server_lets_the_engine_in_as_long_as_it_runs(rig: Rig, server: Server) -> None:
    assert asyncio.run(rig.dbms.lets_in(server))
    asyncio.run(rig.runtime.stop(server))
    assert not asyncio.run(rig.dbms.lets_in(server))


def test_an_index_that_was_damaged_is_found_by_reading_everything(rig: Rig, server: Server) -> None:
    assert asyncio.run(rig.dbms.damage(server)) is None
    index = rig.add_index(server)
    assert asyncio.run(rig.dbms.damage(server)) is None
    asyncio.run(rig.runtime.stop(server))
    with pytest.raises(ServerError):
        asyncio.run(rig.dbms.damage(server))
    rig.write(index, bytes(2 * 8192))
    again = asyncio.run(rig.runtime.start(rig.image, data_dir_of(server)))
    assert asyncio.run(rig.dbms.damage(again))
    asyncio.run(rig.runtime.stop(again, clean=False))


def test_a_page_that_no_query_reads_is_found_where_pg_prewarm_is_installed(
    reachable_dir: Path,
) -> None:
    with rig_below(reachable_dir / "prewarm", "15") as rig:
        server = asyncio.run(rig.runtime.start(rig.image, rig.cluster()))
        index = rig.add_index(server, "gin")
        assert asyncio.run(rig.dbms.damage(server)) is None
        asyncio.run(rig.runtime.stop(server))
        # The planner reads the first.
        rig.write(index, rig.read(index)[:8192] + b"\xff" * 8192)
        again = asyncio.run(rig.runtime.start(rig.image, data_dir_of(server)))
        assert "invalid page in block 1" in (asyncio.run(rig.dbms.damage(again)) or "")
        asyncio.run(rig.runtime.stop(again, clean=False))


def test_a_cluster_without_replication_slots_has_none_to_drop(rig: Rig, server: Server) -> None:
    assert asyncio.run(rig.dbms.drop_replication_slots(server, data_dir_of(server))) == ()


def test_a_hidden_server_leaves_no_trace_in_its_directory_and_has_it_back_later(
    rig: Rig, server: Server
) -> None:
    note = data_dir_of(server) / "postmaster.pid"
    before = rig.read(note)
    with rig.dbms.hide_server(data_dir_of(server)):
        assert not rig.exists(note)
        assert asyncio.run(rig.dbms.defect(data_dir_of(server), recovers=True)) is None
    assert rig.read(note) == before
    assert asyncio.run(rig.runtime.owner_of(data_dir_of(server))) is not None


def test_a_server_is_forgotten_in_a_copy_of_its_directory(rig: Rig, server: Server) -> None:
    data_dir = data_dir_of(server)
    assert defect(rig, data_dir)
    rig.dbms.forget_server(data_dir)
    rig.dbms.forget_server(data_dir)
    assert asyncio.run(rig.dbms.defect(data_dir, recovers=True)) is None


def test_databases_and_rows_are_told_of_a_server_that_answers(rig: Rig, server: Server) -> None:
    assert asyncio.run(rig.dbms.databases(server)) == ("postgres",)
    counts = asyncio.run(rig.dbms.count_rows(server, "postgres"))
    assert sum(counts.values()) == 0
    asyncio.run(rig.runtime.stop(server, clean=False))
    for ask in (rig.dbms.databases(server), rig.dbms.count_rows(server, "postgres")):
        with pytest.raises(ServerError):
            asyncio.run(ask)


def test_a_data_directory_of_another_user_s_is_defective(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("17\n")
    owner = tmp_path.stat().st_uid
    strange = asyncio.run(Postgres(owner=owner + 1).defect(tmp_path))
    assert strange == f"the data directory is owned by uid {owner}, not {owner + 1}"
    assert asyncio.run(Postgres(owner=owner).defect(tmp_path)) == "the control file is missing"
