"""A store whose database is gone: its states and instances are known by their files.

A database that is damaged can be moved away. What the next engine finds beside a new one is not
what a kill left half done, and is not cleared away as that: states and instances get their rows
back. Where an instance cannot, no engine starts.
"""

import logging
from pathlib import Path

from msgspec.structs import replace

from pgstrata.engine import instance_notes
from pgstrata.engine.instance_notes import Note
from pgstrata.errors import ConflictError, StoreUnusableError
from pgstrata.prepare.state_files import StateFiles
from pgstrata.statefs.base import StateFS
from pgstrata.store.base import Store
from pgstrata.system import faults

_log = logging.getLogger(__name__)

_FLAG = "adopting"
"""There from before the new database is made until all is adopted, however often it is begun."""


async def begin(root: Path, statefs: StateFS) -> bool:
    """Whether there is something to adopt. Before the database is opened."""
    flag = root / _FLAG
    if not (root / "pgstrata.db").exists() and not flag.exists():
        found = [await statefs.volumes(root / area) for area in ("states", "instances")]
        if any(found):
            with faults.step("adoption.begin"):
                flag.touch(0o600)
    return flag.exists()


async def adopt(root: Path, statefs: StateFS, store: Store, files: StateFiles) -> None:
    """Give states and instances their rows back, and say what cannot be.

    Raises ``StoreUnusableError``, and changes nothing, when there is an instance of which nothing
    is known.
    """
    known = {instance.instance_id for instance in await store.instances()}
    notes = {
        directory: instance_notes.read(directory)
        for directory in await statefs.volumes(root / "instances")
        if directory.name not in known  # the database may have been put back
    }
    unknown = [
        str(directory)
        for directory, note in notes.items()
        if note is None and not instance_notes.is_waiting(directory)
    ]
    if unknown:
        raise StoreUnusableError(
            f"the database of the store {root} is gone, and nothing else says what there is in "
            f"{', '.join(unknown)}",
            remedy="put pgstrata.db back, or stop the servers in these directories and remove them",
        )
    adopted, lost = await files.adopt()
    for state_id in lost:
        _log.warning("state %s cannot be adopted, and is built again when it is needed", state_id)
    for note in notes.values():
        if note is not None:
            await _adopt_instance(store, note)
    _log.warning(
        "pgstrata.db was gone: adopted %d states and %d instances; jobs and pins are lost",
        len(adopted),
        sum(note is not None for note in notes.values()),
    )
    with faults.step("adoption.end"):
        (root / _FLAG).unlink()


async def _adopt_instance(store: Store, note: Note) -> None:
    instance, state = note.instance, note.state
    if await store.state(state.state_id) is None:
        # A row without files, as that of a damaged state from which something stems.
        parent = state.parent_state_id
        known = parent is not None and await store.state(parent) is not None
        await store.add_state(
            replace(state, parent_state_id=parent if known else None, size_bytes=0, shared_bytes=0)
        )
    try:
        await store.add_instance(instance)
    except ConflictError:
        _log.warning("instance %s loses its name %s", instance.instance_id, instance.name)
        await store.add_instance(replace(instance, name=None))
