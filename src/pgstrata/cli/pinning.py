"""Common parts of commands that are about one state: ``pin``, ``unpin``, ``warm``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.targets import resolve
from pgstrata.cli.text import short
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine

STATE_NEEDED = "STATE is its name, or 8 or more characters of its id."


def pinning(*, pinned: bool) -> Callable[[Context, Given], int]:
    """Make the function of ``pin`` or ``unpin``."""

    def run(context: Context, given: Given) -> int:
        ref = the_state("pin" if pinned else "unpin", given)
        engine = context.engine()
        state_id = resolve_state(engine, ref, "be pinned")
        state = engine.pin(state_id, pinned=pinned)
        if context.json:
            print_document(state)
        else:
            print(f"state {short(state.state_id)} {'is pinned' if pinned else 'may be evicted'}")
        return 0

    return run


def the_state(command: str, given: Given) -> str:
    """What a command that needs one state was given. Raises ``InvalidArgumentError``."""
    if len(given.words) != 1:
        raise InvalidArgumentError(
            f"{command} needs one STATE", remedy="`pgstrata ls -s` lists the states"
        )
    return given.words[0]


def resolve_state(engine: "Engine", ref: str, done: str) -> str:
    """The id of a state. ``done``: what only states can.

    Raises ``InvalidArgumentError``, ``NotFoundError``.
    """
    target = resolve(engine, ref)
    if target.kind != "state":
        raise InvalidArgumentError(
            f'"{ref}" is {_with_article(target.kind)}, and only states can {done}',
            remedy="`pgstrata ls -s` lists the states",
        )
    return target.id


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind == "instance" else f"a {kind}"
