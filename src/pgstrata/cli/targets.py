"""Finds what an id on the command line refers to."""

from typing import TYPE_CHECKING, NamedTuple

from pgstrata.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.domain.deletion import DeleteKind

PREFIX_LENGTH = 8
"""The minimum number of characters of an id."""
JOB_ID_LENGTH = 32

_HEX = frozenset("0123456789abcdef")


class Target(NamedTuple):
    """One item, by its complete id."""

    kind: "DeleteKind"
    id: str


def resolve(engine: "Engine", given: str) -> Target:
    """Find the only match. Raises ``InvalidArgumentError`` for several, ``NotFoundError``."""
    found = {*_find_named(engine, given), *_find_by_id(engine, given.lower())}
    if len(found) == 1:
        return found.pop()
    if not found:
        raise _not_found(given)
    raise InvalidArgumentError(
        f'"{given}" matches {len(found)} things',
        remedy="give more of the id",
        details="\n".join(sorted(f"{target.kind} {target.id}" for target in found)),
    )


def _find_named(engine: "Engine", given: str) -> list[Target]:
    entry = engine.name(given)
    instance_id = entry.instance_id if entry else None
    return [Target("instance", instance_id)] if instance_id else []


def _find_by_id(engine: "Engine", given: str) -> list[Target]:
    if len(given) < PREFIX_LENGTH or not _HEX.issuperset(given):
        return []
    jobs = engine.jobs(job=given) if len(given) == JOB_ID_LENGTH else []
    return [
        *(Target("instance", item.instance_id) for item in engine.instances(id_prefix=given)),
        *(Target("state", item.state_id) for item in engine.states(id_prefix=given)),
        *(Target("job", item.job_id) for item in jobs),
    ]


def _not_found(given: str) -> NotFoundError:
    too_short = len(given) < PREFIX_LENGTH and _HEX.issuperset(given.lower())
    return NotFoundError(
        f'there is no instance, state or job "{given}"',
        remedy=f"a prefix of an id needs {PREFIX_LENGTH} characters or more"
        if too_short
        else "`pgstrata ls --all` lists everything; a job needs its whole id",
    )
