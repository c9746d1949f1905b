"""``rm``: remove an instance, a state or a job."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.report import report
from pgstrata.cli.targets import Target, resolve
from pgstrata.cli.text import at_depth, one_line
from pgstrata.errors import ConflictError, InvalidArgumentError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.domain.deletion import BlockedBy, DeleteNode, DeleteResult

ABOUT = """
Removes one thing and, with -r, everything made from it, and prints the tree. Either all of it is
removed or nothing. ID is an instance (its id, 8 or more characters of it, or its name), a state
(the same) or a job (the whole id). A name outlives its instance; once that is gone, `rm`
gives the name up.
"""

_HINTS: "Mapping[BlockedBy | None, str]" = {
    "active_connections": "--force disconnects its clients",
    "active_tasks": "wait until the job has ended, or use --force",
    "has_descendants": "--recurse also removes what was made from it",
}
_REASONS: "Mapping[BlockedBy, str]" = {
    "active_connections": "clients are connected",
    "active_tasks": "a job is using it",
    "has_descendants": "something was made from it",
    "blocked_by_descendant": "something below it cannot be removed",
}


def run(context: Context, given: Given) -> int:
    """Find what the id refers to, remove it, and show the tree."""
    if len(given.words) != 1:
        raise InvalidArgumentError("rm needs one ID", remedy="`pgstrata ls --all` lists everything")
    engine = context.engine()
    target = resolve(engine, given.words[0])
    if target.kind == "name":
        return _give_up_name(context, engine, target.id, dry_run=given.has("--dry-run"))
    result = _remove(engine, target, given)
    if context.json:
        print_document(result)
    else:
        print("\n".join([result.outcome.replace("_", " "), *tree(result.root)]))
    if result.outcome != "blocked" or result.dry_run:
        return 0
    # Reported here and not raised: with JSON, the result already is the only document.
    refusal = _refusal(target, result)
    report(refusal, as_json=False)
    return refusal.exit_code


def tree(root: "DeleteNode") -> list[str]:
    """Format a tree of items to remove, one line each."""
    return [at_depth(depth, _line(node)) for depth, node in _walk(root)]


def _give_up_name(context: Context, engine: "Engine", name: str, *, dry_run: bool) -> int:
    if not dry_run:
        engine.unbind_name(name)
    outcome = "would_delete" if dry_run else "deleted"
    if context.json:
        root = {"kind": "name", "id": name}
        print_document({"dry_run": dry_run, "outcome": outcome, "root": root})
    else:
        print(f"{outcome.replace('_', ' ')}\n{at_depth(1, one_line(f'name {name}'))}")
    return 0


def _remove(engine: "Engine", target: Target, given: Given) -> "DeleteResult":
    flags = {name: given.has(f"--{name}") for name in ("recurse", "force")}
    if target.kind != "state":
        del flags["recurse"]
    assert target.kind != "name"
    return engine.remove(target.kind, target.id, dry_run=given.has("--dry-run"), **flags)


def _walk(root: "DeleteNode") -> "Iterator[tuple[int, DeleteNode]]":
    waiting = [(1, root)]
    while waiting:
        depth, node = waiting.pop()
        yield depth, node
        waiting.extend((depth + 1, child) for child in reversed(node.children))


def _line(node: "DeleteNode") -> str:
    words = [node.kind, node.id]
    if node.connections:
        words.append(f"clients: {node.connections}")
    if node.blocked:
        words.append(f"- {_REASONS[node.blocked]}")
    return one_line(" ".join(words))


def _refusal(target: Target, result: "DeleteResult") -> ConflictError:
    blocked = [node for _, node in _walk(result.root) if node.blocked]
    hints = [_HINTS[node.blocked] for node in blocked if node.blocked in _HINTS]
    return ConflictError(
        f"{target.kind} {target.id} was not removed, and nothing else",
        remedy="; ".join(dict.fromkeys(hints)) or None,
        details="\n".join(_line(node) for node in blocked),
    )


COMMAND = Command(
    usage="rm [OPTIONS] ID",
    about=ABOUT,
    options=(
        Option(("-r", "--recurse"), "with a state: also the states and instances made from it"),
        Option(("-f", "--force"), "even if clients are connected or a job is using it"),
        Option(("--dry-run",), "only show what would be removed"),
    ),
    examples=(
        "pgstrata rm shop",
        "pgstrata rm --dry-run -r 3f2a9c1d",
        "pgstrata rm -rf 3f2a9c1d",
    ),
    run=run,
)
