"""What ``rm`` would remove: everything, or what is unused; and how it is shown and asked about."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pgstrata.cli.targets import Target
from pgstrata.cli.text import at_depth, one_line
from pgstrata.errors import ConflictError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.domain.deletion import BlockedBy, DeleteNode
    from pgstrata.domain.state import State

Labels = Mapping[str, str]
"""The names of instances and the steps of states, by their ids."""

_REASONS: "Mapping[BlockedBy | None, str]" = {
    "active_connections": "clients are connected",
    "active_tasks": "a job is using it",
    "has_descendants": "something was made from it",
}
"""Why something cannot be removed. That something below it cannot is seen there."""


def everything(engine: "Engine") -> list[Target]:
    """All that can be removed, in an order in which nothing is in the way of the next."""
    states = engine.states()
    listed = {state.state_id for state in states}
    return [
        *(Target("job", job.job_id) for job in engine.jobs()),
        *(Target("instance", item.instance_id) for item in engine.instances()),
        *(Target("name", item.name) for item in engine.names()),
        *(Target("state", one.state_id) for one in states if one.parent_state_id not in listed),
    ]


def unused(engine: "Engine") -> list[Target]:
    """The states from which no instance was made, directly or not, and that can be made again.

    Those that somebody pinned or named stay. Of each tree of such states only the root.
    """
    from pgstrata.domain.state import SNAPSHOT

    states = engine.states()
    parents = {state.state_id: state.parent_state_id for state in states}
    used: set[str] = set()
    for state in states:
        kept = state.refcount or state.pinned or state.name or state.prepare_kind == SNAPSHOT
        found: str | None = state.state_id if kept else None
        while found is not None and found not in used:
            used.add(found)
            found = parents.get(found)
    return [
        Target("state", state.state_id)
        for state in states
        if state.state_id not in used and _is_top(state, parents, used)
    ]


def _is_top(state: "State", parents: Mapping[str, str | None], used: set[str]) -> bool:
    parent = state.parent_state_id
    return parent is None or parent not in parents or parent in used


def consent(targets: Sequence[Target], option: str, *, forced: bool) -> None:
    """Ask the person at the terminal. Raises ``ConflictError`` if the answer is not yes."""
    if forced or not targets:
        return
    counted = Counter(target.kind for target in targets)
    what = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in counted.items())
    below = " with what was made of them" if counted["state"] else ""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ConflictError(
            f"rm {option} would remove {what}{below}, and there is no terminal to ask at",
            remedy="add --force, or look first: --dry-run",
        )
    print(f"remove {what}{below}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConflictError("nothing was removed", remedy=None)


def labels_of(engine: "Engine", targets: Sequence[Target], *, recurse: bool) -> Labels:
    """How people know the targets and what is below them."""
    below = recurse and any(target.kind == "state" for target in targets)
    prefix = None if below or len(targets) != 1 else targets[0].id
    kinds = {target.kind for target in targets}
    found: dict[str, str] = {}
    if "state" in kinds:
        states = engine.states(id_prefix=prefix)
        found.update({item.state_id: item.prepare_args_normalized for item in states})
    if below or "instance" in kinds:
        named = engine.instances(id_prefix=prefix)
        found.update({item.instance_id: item.name for item in named if item.name})
    return found


def tree(root: "DeleteNode", labels: Labels) -> list[str]:
    """Format a tree of items to remove, one line each."""
    return [at_depth(depth, _line(node, labels)) for depth, node in walk(root)]


def walk(root: "DeleteNode") -> "Iterator[tuple[int, DeleteNode]]":
    """The items of a tree with their depths, from 1."""
    waiting = [(1, root)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        waiting.extend((depth + 1, child) for child in reversed(node.children))


def _line(node: "DeleteNode", labels: Labels) -> str:
    words = [node.kind, node.id]
    if (label := labels.get(node.id)) is not None:
        words.append(f" {label}")
    if node.connections:
        words.append(f" clients: {node.connections}")
    if node.blocked in _REASONS:
        words.append(f" - {_REASONS[node.blocked]}")
    return one_line(" ".join(words))
