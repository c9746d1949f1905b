"""``rm``: remove instances, states and jobs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.removal import Labels, consent, everything, labels_of, tree, unused, walk
from pgstrata.cli.report import report
from pgstrata.cli.targets import Target, resolve
from pgstrata.cli.text import at_depth, one_line
from pgstrata.errors import ConflictError, InvalidArgumentError, NotFoundError, PgstrataError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.domain.deletion import BlockedBy, DeleteResult

ABOUT = """
Removes what is named and, with -r, everything made from it, and prints the tree. Of each, either
all is removed or nothing. ID is an instance (its id, 8 or more characters of it, or its name), a
state (the same) or a job (the whole id). A name outlives its instance; once that is gone, `rm`
gives the name up.

--unused removes the states that no instance was made from, but those that are pinned or have a
name, and snapshots; --all every instance, name, state and finished job. Both ask first; without a
terminal, they need -f.
"""

_HINTS: "Mapping[BlockedBy | None, str]" = {
    "active_connections": "--force disconnects its clients",
    "active_tasks": "wait until the job has ended, or use --force",
    "has_descendants": "--recurse also removes what was made from it",
}


def run(context: Context, given: Given) -> int:
    """Find what is meant, remove it one by one, and show the trees, up to the first failure."""
    if given.has("--all") and given.has("--unused"):
        raise InvalidArgumentError(
            "--all and --unused do not go together", remedy="give one of them"
        )
    sweeping = given.which("--all", "--unused")
    if sweeping is None and not given.words:
        raise InvalidArgumentError("rm needs an ID", remedy="`pgstrata ls --all` lists everything")
    if sweeping is not None and given.words:
        raise InvalidArgumentError(
            f"{sweeping} and {given.words[0]} do not go together", remedy="give one of them"
        )
    engine = context.engine()
    words: dict[Target, str] = {}
    if sweeping is None:
        # All of them are found before anything is removed.
        words = {resolve(engine, word): word for word in given.words}
        targets = list(words)
    else:
        targets = (everything if sweeping == "--all" else unused)(engine)
        if not given.has("--dry-run"):
            consent(targets, sweeping, forced=given.has("--force"))
    recurse = sweeping is not None or given.has("--recurse")
    labels = {} if context.json else labels_of(engine, targets, recurse=recurse)
    removed: list[_Removed] = []
    failures: list[PgstrataError] = []
    for target in targets:
        try:
            removed.append(_remove_named(engine, target, words, given, recurse=recurse))
        except PgstrataError as error:
            if sweeping is not None and isinstance(error, NotFoundError):
                continue  # it went with another
            if not removed:
                raise
            # What is gone by now is told all the same.
            failures.append(error)
            break
    _show(context, removed, labels, alone=len(targets) == 1 and sweeping is None)
    failures[:0] = [_refusal(one.target, one.result) for one in removed if one.blocked]
    for failure in failures:
        # Reported here and not raised: with JSON, the result already is the only document.
        report(failure, as_json=False)
    return max((failure.exit_code for failure in failures), default=0)


class _Removed(NamedTuple):
    """One target, and what became of it."""

    target: Target
    result: "DeleteResult | None"
    """None for a name alone."""
    document: Any

    @property
    def blocked(self) -> bool:
        return self.result is not None and self.result.outcome == "blocked"


def _remove_named(
    engine: "Engine", target: Target, words: Mapping[Target, str], given: Given, *, recurse: bool
) -> _Removed:
    try:
        return _remove(engine, target, given, recurse=recurse)
    except NotFoundError:
        # It may have been replaced meanwhile: then the name means the new one.
        new = resolve(engine, words[target]) if target in words else target
        if new == target:
            raise
        return _remove(engine, new, given, recurse=recurse)


def _remove(engine: "Engine", target: Target, given: Given, *, recurse: bool) -> _Removed:
    dry_run = given.has("--dry-run")
    if target.kind == "name":
        if not dry_run:
            engine.unbind_name(target.id)
        outcome = "would_delete" if dry_run else "deleted"
        document = {
            "dry_run": dry_run,
            "outcome": outcome,
            "root": {"kind": "name", "id": target.id},
        }
        return _Removed(target, None, document)
    flags = {"force": given.has("--force")}
    if target.kind == "state":
        flags["recurse"] = recurse
    result = engine.remove(target.kind, target.id, dry_run=dry_run, **flags)
    return _Removed(target, result, result)


def _show(context: Context, removed: Sequence[_Removed], labels: Labels, *, alone: bool) -> None:
    if context.json:
        import msgspec

        from pgstrata.api.codec import encode

        # Each encoded by itself, since its tree may be deeper than Python's stack.
        documents = [msgspec.Raw(encode(one.document)) for one in removed]
        print_document(documents[0] if alone else {"removed": documents})
        return
    if not removed:
        print("nothing to remove")
    for one in removed:
        if one.result is None:
            outcome = one.document["outcome"].replace("_", " ")
            print(f"{outcome}\n{at_depth(1, one_line(f'name {one.target.id}'))}")
        else:
            outcome = one.result.outcome.replace("_", " ")
            print("\n".join([outcome, *tree(one.result.root, labels)]))


def _refusal(target: Target, result: "DeleteResult | None") -> ConflictError:
    assert result is not None
    blocked = [node for _, node in walk(result.root) if node.blocked]
    hints = [_HINTS[node.blocked] for node in blocked if node.blocked in _HINTS]
    verb = "would not be" if result.dry_run else "was not"
    return ConflictError(
        f"{target.kind} {target.id} {verb} removed, and nothing that was made from it",
        remedy="; ".join(dict.fromkeys(hints)) or None,
    )


COMMAND = Command(
    usage="rm [OPTIONS] ID…",
    about=ABOUT,
    options=(
        Option(("-r", "--recurse"), "with a state: also the states and instances made from it"),
        Option(("-f", "--force"), "even if clients are connected or a job is using it"),
        Option(("--dry-run",), "only show what would be removed; exit code 4 if it could not be"),
        Option(
            ("--unused",), "every state that no instance was made from and that can be made again"
        ),
        Option(("--all",), "everything"),
    ),
    examples=(
        "pgstrata rm shop",
        "pgstrata rm shop 3f2a9c1d 5f0c2a9d4be14c6f8a3d7e1b2c4f6a80",
        "pgstrata rm --dry-run -r 3f2a9c1d",
        "pgstrata rm -rf 3f2a9c1d",
        "pgstrata rm --unused",
        "pgstrata rm --all --force",
    ),
    run=run,
)
