"""Common parts of ``pin`` and ``unpin``."""

from collections.abc import Callable

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.targets import resolve
from pgstrata.cli.text import short
from pgstrata.errors import InvalidArgumentError

STATE_NEEDED = "STATE is its name, or 8 or more characters of its id."


def pinning(*, pinned: bool) -> Callable[[Context, Given], int]:
    """Make the function of ``pin`` or ``unpin``."""

    def run(context: Context, given: Given) -> int:
        if len(given.words) != 1:
            raise InvalidArgumentError(
                f"{'pin' if pinned else 'unpin'} needs one STATE",
                remedy="`pgstrata ls -s` lists the states",
            )
        engine = context.engine()
        target = resolve(engine, given.words[0])
        if target.kind != "state":
            raise InvalidArgumentError(
                f'"{given.words[0]}" is {_with_article(target.kind)}, '
                "and only states can be pinned",
                remedy="`pgstrata ls -s` lists the states",
            )
        state = engine.pin(target.id, pinned=pinned)
        if context.json:
            print_document(state)
        else:
            print(f"state {short(state.state_id)} {'is pinned' if pinned else 'may be evicted'}")
        return 0

    return run


def _with_article(kind: str) -> str:
    return f"an {kind}" if kind == "instance" else f"a {kind}"
