"""States that a Python function makes of others."""

from collections.abc import Callable
from contextlib import suppress

from pgstrata.errors import ConflictError
from pgstrata.testing.pg import Pg
from pgstrata.testing.session import Session


def filled(
    session: Session, parent: str, fill: Callable[[Pg], object], name: str | None = None
) -> str:
    """The id of what a function makes of a state.

    With a name it is found again by that, and the function is called once; without, it is of this
    run. Raises ``PgstrataError``.
    """
    if name is not None and (known := _known(session, name)) is not None:
        session.notes.states[known] = "hit"
        return known
    database = session.lend(parent)
    try:
        fill(database)
        state_id: str | None = None
        with suppress(ConflictError):
            state_id = session.snapshot(database.id, name).state_id
    finally:
        session.take_back(database)
    if state_id is None:
        # Another worker was quicker.
        assert name is not None
        state_id = _known(session, name)
        assert state_id is not None
        return state_id
    # It can be made again.
    session.client.states.unpin(state_id)
    session.notes.states[state_id] = "miss"
    return state_id


def _known(session: Session, name: str) -> str | None:
    return next((one.state_id for one in session.client.states.list(name=name)), None)
