"""Deleting instances and states: the whole tree that hangs on one goes, or nothing does.

First the tree is looked at and everything that is in the way is marked; only when nothing is, or
when it is forced, anything is removed, leaves first.
"""

from msgspec.structs import replace

from pgstrata.dbms.base import Dbms
from pgstrata.domain.deletion import DeleteNode, DeleteOutcome, DeleteResult
from pgstrata.domain.instance import Instance
from pgstrata.domain.state import State
from pgstrata.errors import NotFoundError, ServerError, StoreUnusableError
from pgstrata.prepare.removal import StateRemoval
from pgstrata.prepare.snapshots import SnapshotOrchestrator
from pgstrata.runtime.base import Runtime
from pgstrata.store.base import Store


class Deletion:
    """Deletes instances and states."""

    def __init__(
        self,
        *,
        store: Store,
        runtime: Runtime,
        dbms: Dbms,
        snapshots: SnapshotOrchestrator,
        removal: StateRemoval,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._dbms = dbms
        self._snapshots = snapshots
        self._removal = removal

    async def delete_instance(
        self, instance_id: str, *, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete an instance; one with connected clients only with ``force``.

        Raises ``NotFoundError``.
        """
        instance = await self._store.instance(instance_id)
        if instance is None:
            raise NotFoundError(
                f"there is no instance {instance_id}", remedy="see pgstrata ls --instances"
            )
        tree = await self._instance_node(instance, force=force)
        return await self._carry_out(tree, dry_run=dry_run)

    async def delete_state(
        self, state_id: str, *, recurse: bool, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete a state; with ``recurse`` all that stems from it, too.

        Raises ``NotFoundError``.
        """
        state = await self._store.state(state_id)
        if state is None:
            raise NotFoundError(f"there is no state {state_id}", remedy="see pgstrata ls --states")
        tree = await self._state_node(state, recurse=recurse, force=force)
        return await self._carry_out(tree, dry_run=dry_run)

    async def _carry_out(self, tree: DeleteNode, *, dry_run: bool) -> DeleteResult:
        outcome: DeleteOutcome = "blocked" if tree.blocked else "would_delete"
        if outcome == "would_delete" and not dry_run:
            await self._remove(tree)
            outcome = "deleted"
        return DeleteResult(dry_run=dry_run, outcome=outcome, root=tree)

    async def _instance_node(self, instance: Instance, *, force: bool) -> DeleteNode:
        alive = await self._runtime.alive(instance.server)
        connections = await self._connections(instance, force=force) if alive else 0
        return DeleteNode(
            kind="instance",
            id=instance.instance_id,
            connections=connections,
            runtime_id=str(instance.server.pid) if alive else None,
            blocked="active_connections" if connections and not force else None,
        )

    async def _connections(self, instance: Instance, *, force: bool) -> int:
        try:
            return await self._dbms.connections(instance.server)
        except ServerError:
            # A server that answers nobody any more can still be got rid of.
            if force:
                return 0
            raise

    async def _state_node(self, state: State, *, recurse: bool, force: bool) -> DeleteNode:
        states = await self._store.children(state.state_id)
        instances = await self._store.instances(state_id=state.state_id)
        node = DeleteNode(kind="state", id=state.state_id)
        if not recurse:
            return replace(node, blocked="has_descendants") if states or instances else node
        children = (
            *[await self._instance_node(instance, force=force) for instance in instances],
            *[await self._state_node(child, recurse=True, force=force) for child in states],
        )
        blocked = any(child.blocked for child in children)
        return replace(
            node, children=children, blocked="blocked_by_descendant" if blocked else None
        )

    async def _remove(self, node: DeleteNode) -> None:
        for child in node.children:
            await self._remove(child)
        if node.kind == "state":
            await self._removal.remove(node.id)
        else:
            await self._remove_instance(node.id)

    async def _remove_instance(self, instance_id: str) -> None:
        """Row first: what a kill leaves after that, the next start clears away.

        Only a disk too full for that gets its room back first.
        """
        instance = await self._store.instance(instance_id)
        if instance is None:
            return
        try:
            await self._store.remove_instance(instance_id)
        except StoreUnusableError:
            await self._remove_files(instance)
            await self._store.remove_instance(instance_id)
        else:
            await self._remove_files(instance)

    async def _remove_files(self, instance: Instance) -> None:
        await self._runtime.stop(instance.server, clean=False)
        await self._snapshots.discard(instance.server.data_dir.parent)
