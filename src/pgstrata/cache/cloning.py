"""Cloning a state into a directory that will be written to."""

from pathlib import Path

from pgstrata.errors import ConflictError
from pgstrata.statefs.base import StateFS


async def clone_state(statefs: StateFS, state: Path, directory: Path) -> None:
    """Clone a state to ``directory``. Raises ``ConflictError`` if the state is gone."""
    try:
        await statefs.clone(state, directory)
    except FileNotFoundError as error:
        raise ConflictError(
            f"state {state.name} was removed while it was being used",
            remedy="prepare again; it will be rebuilt",
        ) from error
