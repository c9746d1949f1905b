import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgstrata.errors import ServerError
from pgstrata.runtime.access import PrivateDir, socket_dir_for
from pgstrata.runtime.users import engine_user
from tests import needs
from tests.filesystems import socket_place

USER = engine_user()
SOCKET = "/.s.PGSQL.65535"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory as pytest's, in whose place none might be fit for sockets."""
    with socket_place() as directory:
        yield directory


def make(path: Path) -> PrivateDir:
    return PrivateDir(path, server_user=USER, engine_user=USER)


def test_sockets_are_kept_in_the_store_when_its_path_is_short() -> None:
    assert socket_dir_for(Path("/srv/store")) == Path("/srv/store/run")


@pytest.mark.parametrize("length", [60, 80, 84, 85, 90, 100, 110, 300])
def test_a_sockets_path_is_short_enough_whatever_the_stores_is(length: int) -> None:
    store = Path("/" + "s" * length)
    place = socket_dir_for(store)
    assert len(f"{place}{SOCKET}") <= 107
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


def test_only_its_owner_can_enter(tmp_path: Path) -> None:
    directory = make(tmp_path / "run")
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.hba_file.stat().st_mode) == 0o600


def test_a_directory_that_stood_open_is_closed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o755)
    assert stat.S_IMODE(make(tmp_path / "run").path.stat().st_mode) == 0o700


def test_the_rules_are_written_again_by_the_next_engine(tmp_path: Path) -> None:
    rules = make(tmp_path / "run").hba_file
    expected = rules.read_text()
    rules.write_text("host all all all trust\n")
    assert make(tmp_path / "run").hba_file.read_text() == expected
    assert len(list((tmp_path / "run").iterdir())) == 2


def test_everybody_else_needs_a_password(tmp_path: Path) -> None:
    first, *others = make(tmp_path / "run").hba_file.read_text().splitlines()
    assert first == "local all postgres peer map=pgstrata"
    assert {line.split()[-1] for line in others} == {"scram-sha-256"}


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


def test_a_path_that_no_socket_could_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="too long"):
        make(tmp_path / ("r" * 100))
    assert list(tmp_path.iterdir()) == []


def test_a_password_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = make(tmp_path / "run").password_file("geheim ü")
    assert file.read_text(encoding="utf-8") == "geheim ü\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
