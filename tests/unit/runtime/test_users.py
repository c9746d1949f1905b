from pathlib import Path

import pytest

from pgstrata.errors import ServerError
from pgstrata.runtime.users import blocked_by, choose_server_user, engine_user
from tests import needs


@needs.root
def test_root_lets_servers_run_as_somebody_else() -> None:
    assert choose_server_user(None) in ("pgstrata", "nobody")


@needs.root
def test_root_may_choose_whom() -> None:
    assert choose_server_user("nobody") == "nobody"


@needs.root
def test_root_may_not_choose_root() -> None:
    with pytest.raises(ServerError, match="refuses to run as root"):
        choose_server_user("root")


@needs.root
def test_a_user_that_does_not_exist_is_named() -> None:
    with pytest.raises(ServerError, match="no-such-user"):
        choose_server_user("no-such-user")


@needs.no_root
def test_everybody_else_runs_servers_as_themselves() -> None:
    assert choose_server_user(None) is None
    assert choose_server_user(engine_user()) is None


@needs.no_root
def test_nobody_else_can_run_servers_as_another_user() -> None:
    with pytest.raises(ServerError, match="only root"):
        choose_server_user("root")


def test_the_first_directory_that_keeps_a_user_out_is_named(reachable_dir: Path) -> None:
    shut = reachable_dir / "shut"
    (shut / "deeper").mkdir(parents=True)
    (shut / "deeper").chmod(0o700)
    shut.chmod(0o700)
    assert blocked_by(shut / "deeper" / "file", "nobody") == shut


def test_a_way_that_is_open_blocks_nobody(reachable_dir: Path) -> None:
    way = reachable_dir / "open"
    way.mkdir()
    way.chmod(0o711)
    assert blocked_by(way / "file", "nobody") is None


def test_an_owner_that_shut_himself_out_is_out(reachable_dir: Path) -> None:
    way = reachable_dir / "odd"
    way.mkdir()
    way.chmod(0o011)
    assert blocked_by(way / "file", engine_user()) == way
    way.chmod(0o700)
