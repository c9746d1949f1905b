"""Notes about instances are believed when they are ours, and about that instance."""

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pgstrata.api.codec import ENCODER
from pgstrata.domain.instance import Endpoint, Instance, Server
from pgstrata.domain.model import utc_now
from pgstrata.domain.state import State
from pgstrata.engine.instance_notes import Note, read, write

STATE = State(
    state_id="a" * 64,
    parent_state_id=None,
    image_id="postgres@sha256:1",
    prepare_kind="psql",
    prepare_args_normalized="-c ''",
    created_at=utc_now(),
    refcount=0,
)
ENDPOINT = Endpoint(
    host="127.0.0.1", port=1, socket_dir=Path("/run"), user="u", password="p", database="d"
)


def note_about(instance_id: str, state_id: str = STATE.state_id) -> Note:
    server = Server(endpoint=ENDPOINT, runtime_id="1", title="it", log="log", handle="{}")
    instance = Instance(
        instance_id=instance_id,
        image_id=STATE.image_id,
        state_id=state_id,
        name=None,
        created_at=utc_now(),
        expires_at=None,
        server=server,
    )
    return Note(instance=instance, state=STATE)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / ("1" * 32)
    made.mkdir()
    return made


def test_what_is_written_is_read_and_is_nobody_elses_business(directory: Path) -> None:
    for _ in range(2):
        note = note_about(directory.name)
        write(directory, note)
        assert read(directory) == note
    [file] = directory.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def other_file(file: Path) -> None:
    elsewhere = file.with_name("elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def another_state(file: Path) -> None:
    file.write_bytes(ENCODER.encode(note_about(file.parent.name, "b" * 64)))


def endless(file: Path) -> None:
    with file.open("ab") as content:
        content.truncate(1 << 40)


@pytest.mark.parametrize(
    "spoil",
    [
        other_file,
        fifo,
        another_state,
        endless,
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b'{"instance": 1}'),
        lambda file: file.write_bytes(b"\xff"),
        lambda file: file.write_bytes(ENCODER.encode(note_about("2" * 32))),
        lambda file: file.write_bytes(msgspec.json.encode([[]] * 10)),
    ],
)
def test_anything_else_says_nothing(directory: Path, spoil: Callable[[Path], None]) -> None:
    write(directory, note_about(directory.name))
    spoil(directory / "instance.json")
    assert read(directory) is None
