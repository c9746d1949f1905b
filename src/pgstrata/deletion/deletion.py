"""Deletes instances and states: a whole tree or nothing.

The states of the tree are claimed first, so that no job starts to use them. Then everything is
checked, and if nothing blocks the deletion, the rows are deleted in one transaction. A kill before
that has changed nothing; after a kill later on, the next start removes the rest. Then servers are
stopped, and files are hidden and deleted in the background.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from itertools import chain
from pathlib import Path

from pgstrata.cache.in_use import InUse
from pgstrata.cache.removal import StateRemoval
from pgstrata.cache.trash import Trash
from pgstrata.dbms.base import Dbms
from pgstrata.deletion.trees import Use, instance_node, state_node
from pgstrata.domain.deletion import DeleteNode, DeleteOutcome, DeleteResult
from pgstrata.domain.instance import Instance
from pgstrata.errors import NotFoundError, ServerError, StoreUnusableError
from pgstrata.runtime.base import Runtime
from pgstrata.runtime.clients import count_clients
from pgstrata.store.base import Store, Tree
from pgstrata.system.cancellation import finish
from pgstrata.system.turns import Turns

SERVERS_AT_ONCE = 8
"""How many servers are queried, or stopped, at the same time."""


class Deletion:
    """Deletes instances and states."""

    def __init__(
        self,
        *,
        instances: Path,
        store: Store,
        runtime: Runtime,
        dbms: Dbms,
        in_use: InUse,
        removal: StateRemoval,
        trash: Trash,
        turns: Turns,
    ) -> None:
        """``instances``: the directory with each one's files, by its id. ``turns``: see
        ``InstanceStarter``."""
        self._instances = instances
        self._store = store
        self._runtime = runtime
        self._dbms = dbms
        self._in_use = in_use
        self._removal = removal
        self._trash = trash
        self._turns = turns

    async def delete_instance(
        self, instance_id: str, *, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete an instance; one with connected clients only with ``force``.

        Raises ``NotFoundError``, ``ServerError`` if its server may have clients and cannot be
        queried for them, which ``force`` does without.
        """
        async with self._turns.take(instance_id):
            instance = await self._instance(instance_id)
            return await self._delete(instance, force=force, dry_run=dry_run)

    async def delete_expired(self, instance_id: str, now: datetime) -> DeleteResult | None:
        """Delete an instance unless clients are connected; None if its lease is not over by now.

        Raises like ``delete_instance``.
        """
        async with self._turns.take(instance_id):
            instance = await self._instance(instance_id)
            if instance.expires_at is None or instance.expires_at > now:
                return None
            return await self._delete(instance, force=False, dry_run=False)

    async def delete_state(
        self, state_id: str, *, recurse: bool, force: bool, dry_run: bool
    ) -> DeleteResult:
        """Delete a state; with ``recurse`` all its descendants, too.

        With ``force`` even if clients are connected or jobs are using it: those fail. Raises
        ``NotFoundError``, ``ServerError`` like ``delete_instance``, ``ConflictError`` if something
        was made from it just now.
        """
        tree = await self._tree(state_id)
        if dry_run or (not recurse and (len(tree.states) > 1 or tree.instances)):
            node = await self._state_node(tree, recurse=recurse, force=force)
            return _untouched(node, dry_run=dry_run)
        ids = [state.state_id for state in tree.states]
        async with AsyncExitStack() as held:
            in_the_way = held.enter_context(self._in_use.removing(ids, even_held=force))
            # No job starts to use it, but one that does already may yet make an instance of it.
            tree, taken = await self._tree(state_id), set[str]()
            while others := {one.instance_id for one in tree.instances} - taken:
                for instance_id in sorted(others):
                    await held.enter_async_context(self._turns.take(instance_id))
                taken |= others
                # With the servers that they have now.
                tree = await self._tree(state_id)
            node = await self._state_node(tree, recurse=recurse, force=force, held=in_the_way)
            if node.blocked is None and not force:
                # Counting takes time: a client may have connected while others were counted.
                node = await self._state_node(tree, recurse=recurse, force=force, held=in_the_way)
            if node.blocked:
                return _untouched(node, dry_run=False)
            await finish(self._remove([state.state_id for state in tree.states], tree.instances))
        return DeleteResult(dry_run=False, outcome="deleted", root=node)

    async def _instance(self, instance_id: str) -> Instance:
        instance = await self._store.instance(instance_id)
        if instance is None:
            raise NotFoundError(
                f"there is no instance {instance_id}", remedy="see pgstrata ls --instances"
            )
        return instance

    async def _delete(self, instance: Instance, *, force: bool, dry_run: bool) -> DeleteResult:
        use = await self._use(instance, force=force)
        node = instance_node(instance, use, force=force)
        if node.blocked or dry_run:
            return _untouched(node, dry_run=dry_run)
        await finish(self._remove((), (instance,)))
        return DeleteResult(dry_run=False, outcome="deleted", root=node)

    async def _tree(self, state_id: str) -> Tree:
        tree = await self._store.tree(state_id)
        if tree is None:
            raise NotFoundError(f"there is no state {state_id}", remedy="see pgstrata ls --states")
        return tree

    async def _state_node(
        self, tree: Tree, *, recurse: bool, force: bool, held: Iterable[str] = ()
    ) -> DeleteNode:
        uses = await self._uses(tree.instances if recurse else (), force=force)
        in_use = self._in_use.held | frozenset(held)
        return state_node(tree, uses, recurse=recurse, force=force, held=in_use)

    async def _uses(self, instances: Sequence[Instance], *, force: bool) -> Mapping[str, Use]:
        slots = asyncio.Semaphore(SERVERS_AT_ONCE)

        async def use_of(instance: Instance) -> Use:
            async with slots:
                return await self._use(instance, force=force)

        found = await asyncio.gather(*map(use_of, instances))
        return {instance.instance_id: use for instance, use in zip(instances, found, strict=True)}

    async def _use(self, instance: Instance, *, force: bool) -> Use:
        if not await self._runtime.alive(instance.server):
            return Use(alive=False, connections=0)
        try:
            number = await count_clients(instance.server, self._runtime, self._dbms)
            return Use(alive=True, connections=number)
        except ServerError as error:
            # A server that no longer answers can still be removed.
            if not force:
                error.remedy = (
                    "remove it without knowing who is connected: --force (force=true); "
                    f"its log may say what is wrong: {instance.server.log}"
                )
                raise
            return Use(alive=True, connections=0)

    async def _remove(self, state_ids: Sequence[str], instances: Sequence[Instance]) -> None:
        instance_ids = [instance.instance_id for instance in instances]
        try:
            await self._store.remove_all(state_ids=state_ids, instance_ids=instance_ids)
        except StoreUnusableError:
            # On a full disk there is space for that once the files are gone.
            try:
                await self._remove_files(state_ids, instances)
            finally:
                await self._trash.join()
                await self._store.remove_all(state_ids=state_ids, instance_ids=instance_ids)
        else:
            await self._remove_files(state_ids, instances)

    async def _remove_files(self, state_ids: Sequence[str], instances: Sequence[Instance]) -> None:
        slots = asyncio.Semaphore(SERVERS_AT_ONCE)

        async def stop(instance: Instance) -> None:
            async with slots:
                await self._runtime.stop(instance.server, clean=False)

        stops = await asyncio.gather(*map(stop, instances), return_exceptions=True)
        await self._trash.put(self._instances / each.instance_id for each in instances)
        await self._trash.put(chain.from_iterable(map(self._removal.volumes_of, state_ids)))
        # The files go even then: nobody would remove them later.
        for error in filter(None, stops):
            raise error


def _untouched(node: DeleteNode, *, dry_run: bool) -> DeleteResult:
    outcome: DeleteOutcome = "blocked" if node.blocked else "would_delete"
    return DeleteResult(dry_run=dry_run, outcome=outcome, root=node)
