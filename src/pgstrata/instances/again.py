"""Starts a server on the data of an instance that has none any more, where its last one was."""

from pathlib import Path

from pgstrata.cache.disk_full import map_full_disk
from pgstrata.domain.instance import Instance, Server
from pgstrata.errors import NotFoundError
from pgstrata.runtime.base import Runtime
from pgstrata.statefs.base import DATA
from pgstrata.store.base import Store
from pgstrata.system.cancellation import finish


async def start_again(instance: Instance, *, root: Path, runtime: Runtime, store: Store) -> Server:
    """Start a server with the last one's port and settings, and store it; ``root``: the store's.

    Whoever calls it has the instance's turn. Raises ``NotFoundError`` if the instance is gone, and
    as ``Runtime.start`` does; then there is no new server.
    """
    with map_full_disk(root):
        server = await runtime.start(
            instance.image_id,
            root / "instances" / instance.instance_id / DATA,
            address=instance.server.endpoint.address,
            settings=instance.settings,
        )
    stored = False
    try:
        stored = await store.set_server(instance.instance_id, server)
    finally:
        if not stored:
            await finish(_discard(instance.instance_id, server, runtime=runtime, store=store))
    if not stored:
        raise gone(instance.instance_id)
    return server


def gone(instance_id: str) -> NotFoundError:
    """The error for an instance that does not exist, or not any more."""
    return NotFoundError(f"there is no instance {instance_id}", remedy="see `pgstrata ls`")


async def _discard(instance_id: str, server: Server, *, runtime: Runtime, store: Store) -> None:
    """Stop a server that is not in the row, unless it got there before this was cancelled."""
    instance = await store.instance(instance_id)
    if instance is None or instance.server != server:
        await runtime.stop(server, clean=False)
