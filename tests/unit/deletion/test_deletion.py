"""Deleting what does not behave as it should."""

from pathlib import Path

import pytest

from pgstrata.deletion.deletion import Deletion
from pgstrata.errors import ServerError, StoreUnusableError
from pgstrata.memory_disk import MemoryDisk
from pgstrata.store.memory import MemoryStore
from tests.unit.prepare.heart import Heart, engine, run


def deletion_of(heart: Heart) -> Deletion:
    return Deletion(
        store=heart.store,
        runtime=heart.runtime,
        dbms=heart.dbms,
        snapshots=heart.snapshots,
        removal=heart.removal,
    )


class FullStore(MemoryStore):
    """A store that takes no change while there is anything on its disk that could go."""

    def __init__(self, disk: MemoryDisk, root: Path) -> None:
        super().__init__()
        self.disk = disk
        self.root = root

    async def remove_instance(self, instance_id: str) -> bool:
        self._check(self.root / "instances" / instance_id)
        return await super().remove_instance(instance_id)

    async def remove_state(self, state_id: str) -> bool:
        self._check(self.root / "states" / state_id)
        return await super().remove_state(state_id)

    def _check(self, place: Path) -> None:
        if self.disk.exists(place):
            raise StoreUnusableError("the disk is full")


def test_an_instance_whose_server_answers_nobody_is_deleted_by_force_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with engine(Heart(tmp_path)) as heart:
            job = await heart.finish("a")
            assert job.result is not None
            deletion = deletion_of(heart)
            [server] = heart.runtime.running
            heart.disk.write(server.data_dir / "postmaster.pid", b"1\n")
            with pytest.raises(ServerError):
                await deletion.delete_instance(job.result.instance_id, force=False, dry_run=False)
            assert server in heart.runtime.running
            done = await deletion.delete_instance(job.result.instance_id, force=True, dry_run=False)
            assert done.outcome == "deleted"
            assert heart.runtime.running == ()
            assert await heart.store.instances() == []

    run(scenario())


def test_on_a_disk_too_full_to_note_it_instances_and_states_can_be_deleted(tmp_path: Path) -> None:
    async def scenario() -> None:
        heart = Heart(tmp_path)
        heart.store = FullStore(heart.disk, tmp_path)
        heart.start_engine()
        async with engine(heart):
            job = await heart.finish("a")
            assert job.result is not None
            done = await deletion_of(heart).delete_state(
                job.result.state_id, recurse=True, force=False, dry_run=False
            )
            assert done.outcome == "deleted"
            assert heart.runtime.running == ()
            assert await heart.store.instances() == []
            assert await heart.store.states() == []
            for area in ("instances", "states"):
                assert await heart.statefs.places(tmp_path / area) == []

    run(scenario())
