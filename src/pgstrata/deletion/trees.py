"""Trees of items to delete. Pure."""

from collections.abc import Mapping, Set

from pgstrata.domain.deletion import DeleteNode
from pgstrata.domain.instance import Instance
from pgstrata.domain.model import Model
from pgstrata.store.base import Tree


class Use(Model, frozen=True, kw_only=True):
    """Whether an instance is in use."""

    alive: bool
    """Whether its server runs."""
    connections: int
    """How many clients are connected."""


def instance_node(instance: Instance, use: Use, *, force: bool) -> DeleteNode:
    """An instance, blocked by its clients unless ``force`` disconnects them."""
    return DeleteNode(
        kind="instance",
        id=instance.instance_id,
        connections=use.connections,
        runtime_id=instance.server.runtime_id if use.alive else None,
        blocked="active_connections" if use.connections and not force else None,
    )


def state_node(
    tree: Tree, uses: Mapping[str, Use], *, recurse: bool, force: bool, held: Set[str]
) -> DeleteNode:
    """A state with all its descendants.

    ``uses``: each instance's, by its id. ``held``: the states that jobs are using. Without
    ``recurse``, any descendants block it and are not shown.
    """
    root = tree.states[0].state_id
    if not recurse:
        has_descendants = len(tree.states) > 1 or bool(tree.instances)
        used = root in held and not force
        return DeleteNode(
            kind="state",
            id=root,
            blocked="has_descendants" if has_descendants else "active_tasks" if used else None,
        )
    below: dict[str | None, list[DeleteNode]] = {}
    for instance in reversed(tree.instances):
        node = instance_node(instance, uses[instance.instance_id], force=force)
        below.setdefault(instance.state_id, []).append(node)
    # Children come after their parents; no recursion, since a chain may be longer than the stack.
    for state in reversed(tree.states):
        children = tuple(reversed(below.pop(state.state_id, [])))
        node = DeleteNode(
            kind="state",
            id=state.state_id,
            blocked="blocked_by_descendant"
            if any(child.blocked for child in children)
            else "active_tasks"
            if state.state_id in held and not force
            else None,
            children=children,
        )
        below.setdefault(state.parent_state_id, []).append(node)
    return node
