"""What a server may have put into its directories is not followed, waited for or believed."""

import asyncio
import errno
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgstrata.dbms.postgres import Postgres
from pgstrata.domain.instance import Endpoint, Server
from pgstrata.errors import StateUnusableError
from pgstrata.runtime.access import PrivateDir
from pgstrata.runtime.launch import ServerLog
from pgstrata.runtime.postmaster import read_pid_file
from pgstrata.runtime.users import engine_user
from pgstrata.statefs import namespaces, trees
from pgstrata.statefs.copy import CopyStateFS
from pgstrata.statefs.layers import LEFTOVER_PREFIX
from pgstrata.system import planted
from pgstrata.system.planted import PlantedFileError
from tests import needs
from tests.filesystems import CannotMountError, dig, give_up, memory_mounted, socket_place

SECRET = "a secret of root's"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file outside that no server could read."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    return file


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def fifo(path: Path, _: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path, _: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:  # a path of this length is none that a socket can have
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def directory(path: Path, _: Path) -> None:
    path.mkdir()


def endless(path: Path, _: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def device(path: Path, _: Path) -> None:
    """One that never ends; nobody but root can make any but the one that stands for nothing."""
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5) if needs.IS_ROOT else 0)


Plant = Callable[[Path, Path], None]
plants = pytest.mark.parametrize("plant", [link, fifo, unix_socket, directory, endless, device])


@plants
def test_only_a_plain_file_of_a_fair_size_is_read(
    plant: Plant, tmp_path: Path, secret: Path
) -> None:
    plant(tmp_path / "file", secret)
    with pytest.raises(PlantedFileError, match="file is "):
        planted.read(tmp_path, "file", 1000)


def test_no_directory_on_the_way_to_a_file_may_be_a_link(tmp_path: Path, secret: Path) -> None:
    for name in ("data", "global"):
        (tmp_path / name).symlink_to(secret.parent)
    with pytest.raises(PlantedFileError, match="data is a link"):
        planted.read(tmp_path / "data", "secret", 1000)
    with pytest.raises(PlantedFileError, match="global is a link"):
        planted.read(tmp_path, "global/secret", 1000)


def test_a_plain_file_is_read_up_to_its_limit_and_a_missing_one_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    assert planted.read(tmp_path, "file", 10) == b"x" * 10
    with pytest.raises(PlantedFileError, match="larger than 9 bytes"):
        planted.read(tmp_path, "file", 9)
    with pytest.raises(FileNotFoundError):
        planted.read(tmp_path, "other", 9)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """What is looked at of a data directory."""
    data = tmp_path / "data"
    (data / "global").mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")
    (data / "global" / "pg_control").write_bytes(b"\0" * 16 + b"\1\0\0\0" + b"\0" * 8172)
    for name in ("postgresql.conf", "postgresql.auto.conf", "postmaster.pid"):
        (data / name).write_text("")
    return data


@plants
@pytest.mark.parametrize("name", ["PG_VERSION", "global/pg_control"])
def test_a_data_directory_with_anything_else_in_it_cannot_be_used(
    name: str, plant: Plant, cluster: Path, secret: Path
) -> None:
    (cluster / "postmaster.pid").unlink()
    assert asyncio.run(Postgres().defect(cluster)) is None
    (cluster / name).unlink()
    plant(cluster / name, secret)
    assert Path(name).name in (asyncio.run(Postgres().defect(cluster)) or "")


def test_a_link_to_another_data_directory_cannot_be_used(cluster: Path, tmp_path: Path) -> None:
    (cluster / "postmaster.pid").unlink()
    (tmp_path / "link").symlink_to(cluster)
    assert asyncio.run(Postgres().defect(tmp_path / "link")) == "there is no data directory"
    (cluster / "postmaster.pid").symlink_to("nowhere")
    assert "postmaster.pid" in (asyncio.run(Postgres().defect(cluster)) or "")


@plants
@pytest.mark.parametrize("name", ["postgresql.conf", "postgresql.auto.conf"])
def test_settings_that_are_no_file_fail_the_step_that_planted_them(
    name: str, plant: Plant, cluster: Path, secret: Path
) -> None:
    (cluster / name).unlink()
    plant(cluster / name, secret)
    with pytest.raises(StateUnusableError, match=name) as raised:
        asyncio.run(Postgres().start_settings(cluster))
    assert "this step" in (raised.value.remedy or "")


@plants
def test_a_pid_file_that_is_no_file_is_never_given_back_as_one(
    plant: Plant, cluster: Path, secret: Path
) -> None:
    (cluster / "postmaster.pid").unlink()
    plant(cluster / "postmaster.pid", secret)
    with (
        pytest.raises(StateUnusableError, match=r"postmaster\.pid"),
        Postgres().hide_server(cluster),
    ):
        pytest.fail("a server was hidden")
    assert secret.read_text() == SECRET
    assert read_pid_file(cluster) is None


def test_what_stands_in_the_way_of_a_pid_file_is_not_written_through(
    cluster: Path, secret: Path
) -> None:
    with pytest.raises(FileExistsError), Postgres().hide_server(cluster):
        (cluster / "postmaster.pid").symlink_to(secret)
    assert secret.read_text() == SECRET


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5000,
        f"1\n/data\n{'9' * 5000}\n",
        "٣\n/data\n1\n",
        f"{1 << 40}\n/data\n1\n",
        "-1\n/\n1\n",
    ],
)
def test_numbers_in_a_pid_file_are_believed_only_if_they_can_be_right(
    text: str, cluster: Path
) -> None:
    (cluster / "postmaster.pid").write_text(text)
    assert read_pid_file(cluster) is None


def test_of_a_log_without_end_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_text("of an earlier start\n")
    log = ServerLog(path)
    assert log.tail() == ""
    with path.open("a") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write("\nFATAL:  the end\n")
    assert log.tail().endswith("\nFATAL:  the end")


@plants
def test_no_pid_file_keeps_an_engine_from_looking_for_a_namespace(
    plant: Plant, tmp_path: Path, secret: Path
) -> None:
    upper = tmp_path / "instances" / "one" / "overlay" / "upper"
    upper.mkdir(parents=True)
    plant(upper / "postmaster.pid", secret)
    assert not namespaces.join(tmp_path)


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory for sockets, which pytest's own may not be fit for."""
    with socket_place() as directory:
        yield directory / "run"


@plants
def test_no_leftover_among_sockets_stops_an_engine(
    plant: Plant, sockets: Path, secret: Path
) -> None:
    user = engine_user()
    private = PrivateDir(sockets, server_user=user, engine_user=user)
    server = private.add("")
    for name in (".s.PGSQL.1.lock", ".s.PGSQL.2", "pg_hba.conf.x", "password.y"):
        plant(private.path / name, secret)
        plant(server.sockets / name, secret)
    private.clear_leftovers([])
    assert list(private.path.iterdir()) == []
    assert secret.read_text() == SECRET


def test_a_tree_is_deleted_without_what_its_links_lead_to(tmp_path: Path, secret: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    for place in (tree, tree / "deep"):
        (place / "file").symlink_to(secret)
        (place / "directory").symlink_to(outside)
    trees.delete(tree)
    assert not tree.exists()
    assert (outside / "kept").exists()
    assert secret.exists()


def test_a_link_is_not_deleted_in_place_of_a_tree(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    (tmp_path / "tree").symlink_to("outside")
    with pytest.raises(OSError, match=os.strerror(errno.ENOTDIR)):
        trees.delete(tmp_path / "tree")
    assert (tmp_path / "outside" / "kept").exists()


def test_directories_swapped_for_links_meanwhile_lead_no_deletion_astray(tmp_path: Path) -> None:
    """For as long as it takes to delete a tree, its directories and links change their names."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = tmp_path / "tree"
    for number in range(300):
        one = tree / str(number)
        one.mkdir(parents=True)
        for name in range(5):
            (one / str(name)).touch()
    (tree / "link").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            for number in range(300):
                with suppress(OSError):
                    (tree / str(number)).rename(tree / "aside")
                    (tree / "link").rename(tree / str(number))
                    (tree / str(number)).rename(tree / "link")
                    (tree / "aside").rename(tree / str(number))

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        trees.delete(tree)
    finally:
        done.set()
        swapping.join()
    assert not tree.exists()
    assert (outside / "kept").exists()


def test_a_tree_may_be_as_deep_as_no_path_can_say(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    dig(tree, 1000)
    trees.delete(tree)
    assert not tree.exists()


def test_a_leftover_that_cannot_be_deleted_does_not_stop_an_engine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stays, goes = tmp_path / f"{LEFTOVER_PREFIX}a", tmp_path / f"{LEFTOVER_PREFIX}b"
    goes.mkdir()
    try:
        with memory_mounted(stays):
            asyncio.run(CopyStateFS().purge(tmp_path))
            assert stays.exists()
    except CannotMountError as error:
        give_up(error)
    assert not goes.exists()
    assert f"{stays} was left behind and cannot be deleted" in caplog.text


NO_SERVER = Server(
    endpoint=Endpoint(
        host="", port=0, socket_dir=Path("/nowhere"), user="", password="", database=""
    ),
    runtime_id="",
    title="",
    log="",
    handle="",
)


@pytest.mark.parametrize("plant", [link, fifo])
@pytest.mark.parametrize("name", ["base", "pg_tblspc", "pg_replslot"])
def test_directories_that_are_none_fail_the_step_that_planted_them(
    name: str, plant: Plant, cluster: Path, secret: Path
) -> None:
    for directory in {"base", "pg_tblspc", "pg_replslot"} - {name}:
        (cluster / directory).mkdir()
    plant(cluster / name, secret.parent)

    async def look() -> None:
        dbms = Postgres()
        await dbms.lost_in_crash(cluster)
        await dbms.check_snapshot(cluster)
        await dbms.drop_replication_slots(NO_SERVER, cluster)

    with pytest.raises(StateUnusableError, match=name):
        asyncio.run(look())


def test_nothing_is_looked_for_behind_a_link_in_place_of_a_database(
    cluster: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "1_init").touch()
    for directory in ("base", "pg_tblspc"):
        (cluster / directory).mkdir()
    (cluster / "base" / "5").symlink_to(tmp_path / "outside")
    fifo(cluster / "base" / "6", tmp_path)
    assert asyncio.run(Postgres().lost_in_crash(cluster)) is None
    in_place = cluster / "pg_tblspc" / "1" / "PG_18" / "5"
    in_place.mkdir(parents=True)
    (in_place / "2_init").touch()
    assert "relation 2 of 5" in (asyncio.run(Postgres().lost_in_crash(cluster)) or "")
