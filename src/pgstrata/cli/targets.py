"""Finds what an id on the command line refers to."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from pgstrata.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from pgstrata.cli.options import Given
    from pgstrata.client.engine import Engine
    from pgstrata.domain.deletion import DeleteKind

T = TypeVar("T")

PREFIX_LENGTH = 8
"""The minimum number of characters of an id."""
JOB_ID_LENGTH = 32

_HEX = frozenset("0123456789abcdef")


class Target(NamedTuple):
    """One item, by its complete id."""

    kind: "DeleteKind | Literal['name']"
    """``name``: one whose instance is gone."""
    id: str


def resolve(engine: "Engine", given: str) -> Target:
    """Find the only match. Raises ``InvalidArgumentError`` for several, ``NotFoundError``."""
    name = engine.name(given) if given else None
    found = set(_find_by_id(engine, given.lower()))
    if name is not None and name.instance_id is not None:
        found.add(Target("instance", name.instance_id))
    if name is None and given:
        found.update(_find_by_name(engine, given))
    if len(found) == 1:
        return found.pop()
    if not found:
        if name is not None:
            return Target("name", given)
        raise _not_found(given)
    raise InvalidArgumentError(
        f'"{given}" matches {len(found)} things',
        remedy="give more of the id",
        details="\n".join(sorted(f"{target.kind} {target.id}" for target in found)),
    )


def resolve_instance(engine: "Engine", command: str, given: "Given") -> str:
    """The id of the one instance that a command was given; raises like ``resolve``."""
    if len(given.words) != 1:
        raise InvalidArgumentError(
            f"{command} needs one INSTANCE", remedy="`pgstrata ls` lists names and instances"
        )
    [word] = given.words
    target = resolve(engine, word)
    if target.kind == "name":
        raise NotFoundError(
            f'the instance with the name "{word}" is gone',
            remedy=f"prepare it again with --name {word}; its DSN will be the same",
        )
    if target.kind != "instance":
        raise InvalidArgumentError(
            f'"{word}" is a {target.kind}, and {command} needs an instance',
            remedy="`pgstrata ls` lists names and instances",
        )
    return target.id


def with_instance(engine: "Engine", command: str, given: "Given", act: Callable[[str], T]) -> T:
    """Do something with the one instance that a command was given; raises like ``resolve``.

    ``act`` gets its id. If the instance is replaced meanwhile, the name means the new one.
    """
    instance_id = resolve_instance(engine, command, given)
    try:
        return act(instance_id)
    except NotFoundError:
        new = resolve_instance(engine, command, given)
        if new == instance_id:
            raise
        return act(new)


def _find_by_id(engine: "Engine", given: str) -> list[Target]:
    if len(given) < PREFIX_LENGTH or not _HEX.issuperset(given):
        return []
    jobs = engine.jobs(job=given) if len(given) == JOB_ID_LENGTH else []
    return [
        *(Target("instance", item.instance_id) for item in engine.instances(id_prefix=given)),
        *(Target("state", item.state_id) for item in engine.states(id_prefix=given)),
        *(Target("job", item.job_id) for item in jobs),
    ]


def _find_by_name(engine: "Engine", given: str) -> list[Target]:
    """The state with this name, which no instance has then."""
    return [
        Target("state", item.state_id) for item in engine.states(name=given) if item.name == given
    ]


def _not_found(given: str) -> NotFoundError:
    too_short = len(given) < PREFIX_LENGTH and _HEX.issuperset(given.lower())
    return NotFoundError(
        f'there is no instance, state or job "{given}"',
        remedy=f"a prefix of an id needs {PREFIX_LENGTH} characters or more"
        if too_short
        else "`pgstrata ls --all` lists everything; a job needs its whole id",
    )
