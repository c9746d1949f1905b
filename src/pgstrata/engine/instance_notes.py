"""What is known of each instance, written down beside its data as well.

The database is where it is read. The note is for a store whose database is gone: an instance is
somebody's data, and cannot be built again as a state can.
"""

import logging
import os
from datetime import datetime
from pathlib import Path

import msgspec

from pgstrata.api.codec import ENCODER, decode
from pgstrata.cache.disk_full import map_full_disk
from pgstrata.domain.instance import Instance, Server
from pgstrata.domain.model import Model
from pgstrata.domain.state import State
from pgstrata.sqlite.database import Database
from pgstrata.store.sqlite import SqliteStore
from pgstrata.system import faults, planted

_log = logging.getLogger(__name__)

_NAME = "instance.json"
_WAITING = "waiting"
_LONGEST = 1 << 20


class Note(Model, frozen=True, kw_only=True):
    """An instance and the state it was cloned from, as their rows are."""

    instance: Instance
    state: State


def read(directory: Path) -> Note | None:
    """The note in an instance's directory; None when there is none that we wrote about it."""
    try:
        with planted.open_parent(directory, _NAME) as parent:
            file = planted.read_at(parent, _NAME, _LONGEST)
        note = decode(file.content, Note)
    except (OSError, planted.PlantedFileError, msgspec.DecodeError):
        return None
    if file.status.st_uid != os.geteuid():
        return None
    matches = (note.instance.instance_id, note.instance.state_id) == (
        directory.name,
        note.state.state_id,
    )
    return note if matches else None


def write(directory: Path, note: Note) -> None:
    """Write it whole or not at all. Like a row, the newest may be lost in a power cut."""
    # The name is always the same, so that the draft of an engine that was killed is written over.
    draft = directory / f".{_NAME}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with faults.step("instance_note.write"):
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(ENCODER.encode(note))
        draft.replace(directory / _NAME)


def note_waiting(directory: Path) -> None:
    """Note that a directory is nobody's yet. The note of an instance counts for more."""
    with faults.step("instance_note.waiting"):
        (directory / _WAITING).touch(0o600)


def is_waiting(directory: Path) -> bool:
    """Whether a directory was nobody's when that was noted last."""
    return os.path.lexists(directory / _WAITING)


class NotingStore(SqliteStore):
    """A store that keeps the notes as its rows are."""

    def __init__(self, database: Database, instances: Path) -> None:
        """``instances``: where each has its directory."""
        super().__init__(database)
        self._directories = instances

    async def add_instance(self, instance: Instance) -> None:
        # Before the row: there is none without a note.
        with map_full_disk(self._directories.parent):
            await self._note(instance)
        await super().add_instance(instance)

    async def replace_instance(self, instance_id: str, instance: Instance) -> None:
        with map_full_disk(self._directories.parent):
            await self._note(instance)
        await super().replace_instance(instance_id, instance)

    async def bind_name(self, name: str, instance_id: str) -> None:
        await super().bind_name(name, instance_id)
        await self._note_change(instance_id)

    async def unbind_name(self, name: str) -> bool:
        bearer = await self.instance_named(name)
        unbound = await super().unbind_name(name)
        if bearer is not None:
            await self._note_change(bearer.instance_id)
        return unbound

    async def extend(self, instance_id: str, expires_at: datetime) -> bool:
        extended = await super().extend(instance_id, expires_at)
        await self._note_change(instance_id)
        return extended

    async def set_server(self, instance_id: str, server: Server) -> bool:
        stored = await super().set_server(instance_id, server)
        await self._note_change(instance_id)
        return stored

    async def note_all(self) -> None:
        """Write what is missing, or was not written any more before a kill."""
        for instance in await self.instances():
            known = read(self._directories / instance.instance_id)
            # How much a state is used says nothing of an instance.
            if known is None or known.instance != instance:
                await self._note_change(instance.instance_id)

    async def _note_change(self, instance_id: str) -> None:
        instance = await self.instance(instance_id)
        try:
            if instance is not None:
                await self._note(instance)
        except OSError as error:
            # The change itself is made, and the next engine writes what is missing.
            _log.warning("the note about instance %s cannot be written: %s", instance_id, error)

    async def _note(self, instance: Instance) -> None:
        state = await self.state(instance.state_id)
        directory = self._directories / instance.instance_id
        if state is not None and directory.is_dir():
            write(directory, Note(instance=instance, state=state))
