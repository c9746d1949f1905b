"""Which steps of a recipe leave a state of their own. Pure.

A state costs time and disk, and in a long recipe hardly any will be wanted again: people work near
its end. The steps from one kept state to the next are a span, which is run without a stop. If
something in it changes, it is run again from the state before it.
"""

from collections.abc import Collection, Sequence

from pgstrata.domain.plan import States, Step

SHORT = 32
"""Of a recipe with no more steps than this, each step's state is kept."""
NEAR_END = 16
"""Of a longer one, so many at the end are each kept."""
_FRACTION = 4
"""Further back, no span is much longer than the steps after it divided by this."""
WORTH_SECONDS = 5.0
WORTH_TIMES = 20
"""A span that has run for so long, and for so many times what it takes to keep a state, is ended:
what it has led to is worth its state."""


def choose(how: States, steps: Sequence[Step], worked_on: Collection[int] = ()) -> frozenset[int]:
    """Return which steps, counted from 0, are to leave a state. The last one always does.

    ``worked_on``: steps that have changed or failed, so that they will probably change again.
    """
    count = len(steps)
    last = {count - 1} if steps else set()
    if how == "all" or (how == "auto" and count <= SHORT):
        return frozenset(range(count))
    if how == "tags":
        return frozenset(last | {at for at, step in enumerate(steps) if step.tagged})
    end = next((at for at, step in enumerate(steps) if step.uncacheable), count)
    wanted = {at for at in range(end) if _is_kept(at, end)}
    return frozenset(last | wanted | {at - 1 for at in worked_on if 0 < at < count})


def _is_kept(at: int, end: int) -> bool:
    """Whether the step at a position is, in a recipe of which only ``end`` steps can be cached.

    Further back, spans grow by powers of two that begin at multiples of their length: so all
    lengths of a growing recipe have the same old states.
    """
    after = end - 1 - at
    if after < NEAR_END:
        return True
    length = 1 << ((after // _FRACTION).bit_length() - 1)
    return (at + 1) % length == 0


def is_worth_keeping(how: States, seconds: float, cost: float) -> bool:
    """Whether to keep what a span has led to after it has run for so long.

    ``cost``: how many seconds it takes to keep a state.
    """
    return how == "auto" and seconds >= max(WORTH_SECONDS, WORTH_TIMES * cost)
