import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.domain.instance import Endpoint
from pgstrata.errors import ServerError
from pgstrata.runtime.access import PrivateDir, socket_dir_for
from pgstrata.runtime.users import engine_user
from tests import needs
from tests.filesystems import socket_place

USER = engine_user()
SOCKET = "/12345678/s/.s.PGSQL.65535"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory as pytest's, in whose place none might be fit for sockets."""
    with socket_place() as directory:
        yield directory


def make(path: Path) -> PrivateDir:
    return PrivateDir(path, server_user=USER, engine_user=USER)


def test_sockets_are_kept_in_the_store_when_its_path_is_short() -> None:
    assert socket_dir_for(Path("/srv/store")) == Path("/srv/store/run")


@pytest.mark.parametrize("length", [60, 70, 73, 74, 80, 100, 110, 300])
def test_a_sockets_path_is_short_enough_whatever_the_stores_is(length: int) -> None:
    store = Path("/" + "s" * length)
    place = socket_dir_for(store)
    assert len(f"{place}{SOCKET}") <= 103
    assert socket_dir_for(store) == place
    assert str(os.geteuid()) in place.name or place == store / "run"


@pytest.mark.parametrize("name", ["a,b", ",", "größer, kleiner"])
def test_a_sockets_path_has_no_comma_whatever_the_stores_has(name: str) -> None:
    store = Path("/srv", name)
    place = socket_dir_for(store)
    assert "," not in str(place)
    assert socket_dir_for(store) == place


def test_a_temporary_directory_of_ones_own_is_no_place_for_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Path("/" + "s" * 200)
    place = socket_dir_for(store)
    monkeypatch.setattr(tempfile, "tempdir", "/somewhere/private")
    assert socket_dir_for(store) == place


def test_two_stores_do_not_share_their_sockets() -> None:
    assert socket_dir_for(Path("/" + "a" * 200)) != socket_dir_for(Path("/" + "b" * 200))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_but_the_servers_can_pass_through(tmp_path: Path) -> None:
    directory = make(tmp_path / "run")
    server = directory.add("")
    assert mode(server.sockets) == 0o700
    for closed in (directory.path, server.path, server.hba_file, server.ident_file):
        assert mode(closed) & 0o027 == 0


def test_a_directory_that_stood_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    assert mode(make(tmp_path / "run").path) & 0o027 == 0


def test_every_server_has_a_directory_of_its_own(tmp_path: Path) -> None:
    directory = make(tmp_path / "run")
    servers = [directory.add("") for _ in range(5)]
    assert len({server.sockets for server in servers}) == 5
    servers[0].discard()
    assert sorted(directory.path.iterdir()) == sorted(server.path for server in servers[1:])


@needs.root
@pytest.mark.parametrize("building", [False, True])
def test_a_servers_user_can_write_nothing_but_its_sockets_and_those_only_at_first(
    building: bool, tmp_path: Path
) -> None:
    server = PrivateDir(tmp_path / "run", server_user="nobody", engine_user=USER).add(
        "", building=building
    )
    owners = {path: path.stat().st_uid for path in (server.path, *server.path.iterdir())}
    assert [path for path, owner in owners.items() if owner != 0] == [server.sockets]
    # As a server can, until it is ready.
    server.sockets.chmod(0o777)
    server.close()
    assert (server.sockets.stat().st_uid, mode(server.sockets)) == (0, 0o700)


def test_the_directory_of_all_is_made_again_when_somebody_has_removed_it(tmp_path: Path) -> None:
    private = make(tmp_path / "run")
    private.add("")
    shutil.rmtree(private.path)
    added = private.add("")
    assert added.settings_file.is_file()
    assert mode(private.path) == mode(make(tmp_path / "other").path)


def test_clients_of_an_instance_need_a_password(tmp_path: Path) -> None:
    first, *others = make(tmp_path / "run").add("").hba_file.read_text().splitlines()
    assert first == 'local all "postgres" peer map=pgstrata'
    assert {line.split()[-1] for line in others} == {"scram-sha-256"}


def test_a_server_that_builds_is_reached_by_its_socket_only(tmp_path: Path) -> None:
    rules = make(tmp_path / "run").add("", building=True).hba_file.read_text().splitlines()
    assert {line.split()[0] for line in rules} == {"local"}


def test_the_superuser_may_have_any_name(tmp_path: Path) -> None:
    server = make(tmp_path / "run").add("", superuser='the "boss", really')
    assert server.hba_file.read_text().startswith('local all "the ""boss"", really" peer')
    assert server.ident_file.read_text() == f'pgstrata "{USER}" "the ""boss"", really"\n'


def endpoint(sockets: Path, port: int = 5432) -> Endpoint:
    return Endpoint(
        host="127.0.0.1", port=port, socket_dir=sockets, user="u", password="p", database="d"
    )


def test_only_what_belongs_to_no_server_is_cleared_away(tmp_path: Path) -> None:
    directory = make(tmp_path / "run")
    kept, gone = directory.add(""), directory.add("")
    (gone.sockets / ".s.PGSQL.1").touch()
    (directory.path / "notes").touch()
    directory.clear_leftovers([endpoint(kept.sockets)])
    assert {path.name for path in directory.path.iterdir()} == {kept.path.name, "notes"}


@pytest.fixture
def earlier(tmp_path: Path) -> PrivateDir:
    """A directory as an earlier version had it, for all servers together."""
    (tmp_path / "run").mkdir()
    for name in ("pg_hba.conf", "pg_ident.conf", "pg_hba.conf.x7", "password.y"):
        (tmp_path / "run" / name).touch()
    for port in (1, 2):
        (tmp_path / "run" / f".s.PGSQL.{port}").touch()
        (tmp_path / "run" / f".s.PGSQL.{port}.lock").touch()
    return make(tmp_path / "run")


def test_servers_of_an_earlier_version_keep_what_they_need(earlier: PrivateDir) -> None:
    old = endpoint(earlier.path, port=2)
    earlier.clear_leftovers([old])
    assert {path.name for path in earlier.path.iterdir()} == {
        "pg_hba.conf",
        "pg_ident.conf",
        ".s.PGSQL.2",
        ".s.PGSQL.2.lock",
    }
    earlier.remove(old)
    earlier.clear_leftovers([])
    assert list(earlier.path.iterdir()) == []


def test_a_directory_elsewhere_is_not_removed(tmp_path: Path) -> None:
    directory = make(tmp_path / "run")
    elsewhere = tmp_path / "elsewhere" / "12345678" / "s"
    elsewhere.mkdir(parents=True)
    directory.remove(endpoint(elsewhere))
    assert elsewhere.exists()


def test_a_link_to_somewhere_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")
    with pytest.raises(ServerError, match="belongs to another user"):
        make(tmp_path / "run")


@needs.root
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 4711, 4711)
    with pytest.raises(ServerError, match="belongs to another user"):
        make(tmp_path / "run")


@needs.root
def test_a_directory_that_an_earlier_version_gave_to_its_servers_is_taken_over(
    tmp_path: Path,
) -> None:
    try:
        earlier = pwd.getpwnam("postgres")
    except KeyError:
        needs.missing("there is no user postgres, whom an earlier version ran servers as")
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", earlier.pw_uid, earlier.pw_gid)
    make(tmp_path / "run")
    assert (tmp_path / "run").stat().st_uid == 0


def test_a_path_that_no_socket_could_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="too long"):
        make(tmp_path / ("r" * 100))
    assert list(tmp_path.iterdir()) == []
