"""Factories of fixtures: states, layers on top of them, and databases of them."""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:
    from pgstrata.client.recipes import Recipe
    from pgstrata.pytest.pg import Pg
    from pgstrata.pytest.session import Session

Scope = Literal["function", "class", "module", "package", "session"]
Fill = Callable[["Pg"], object]
"""Puts data into a database."""


def state(
    *scripts: "str | os.PathLike[str]", recipe: "Recipe | None" = None, **options: Any
) -> Any:
    """A fixture with the id of a state: of these scripts, with the options of ``psql``, or of a
    recipe. Paths start from the directory of the file that calls this.
    """
    if (recipe is None) != bool(scripts) or (recipe is not None and options):
        raise pytest.UsageError("state(…) takes either scripts and their options, or a recipe")
    here = _caller()

    @pytest.fixture(scope="session")
    def fixture(request: pytest.FixtureRequest) -> str:
        from pgstrata.client.recipes import psql
        from pgstrata.pytest.fixtures import told_in_a_line
        from pgstrata.pytest.run import session_of

        with told_in_a_line():
            wanted = recipe or psql(*(here / script for script in scripts), **options)
            return session_of(request.config).build(wanted)

    return fixture


def layer(
    parent: str, *steps: "str | os.PathLike[str] | Fill", inputs: Sequence[str] | None = None
) -> Any:
    """A fixture with the id of a state on top of another, which the fixture ``parent`` has.

    Each step is SQL, a script (a ``Path``), or a function that is given a database to fill. With
    ``inputs``, the patterns of the files that it reads, what a function did is kept for the next
    runs, until its own text, one of these files or the parent changes; without, for this run.
    """
    here = _caller()

    @pytest.fixture(scope="session")
    def fixture(request: pytest.FixtureRequest) -> str:
        from pgstrata.client.recipes import state as of_state
        from pgstrata.pytest.fixtures import told_in_a_line
        from pgstrata.pytest.run import session_of

        session = session_of(request.config)
        state_id: str = request.getfixturevalue(parent)
        with told_in_a_line():
            for step in steps:
                if callable(step):
                    state_id = _filled(session, state_id, step, inputs, here)
                else:
                    path_or_sql = step if isinstance(step, str) else here / step
                    state_id = session.build(of_state(state_id).then(path_or_sql))
        return state_id

    return fixture


def instance(state: str, scope: Scope = "function") -> Any:
    """A fixture with a database of a state, which the fixture ``state`` has."""

    @pytest.fixture(scope=scope)
    def fixture(request: pytest.FixtureRequest) -> "Iterator[Pg]":
        from pgstrata.pytest.fixtures import lent

        yield from lent(request, state)

    return fixture


def _caller() -> Path:
    frame = inspect.stack()[2]
    return Path(frame.filename).parent


def _filled(
    session: "Session", parent: str, fill: Fill, inputs: Sequence[str] | None, here: Path
) -> str:
    if inputs is None:
        return _fill(session, parent, fill, None)
    name = f"layer-{_digest(parent, fill, inputs, here)[:40]}"
    for known in session.client.states.list(name=name):
        session.notes.states[known.state_id] = "hit"
        return known.state_id
    return _fill(session, parent, fill, name)


def _fill(session: "Session", parent: str, fill: Fill, name: str | None) -> str:
    from pgstrata.errors import ConflictError

    database = session.lend(parent)
    try:
        fill(database)
        try:
            state_id = session.snapshot(database.id, name).state_id
        except ConflictError:
            # Another worker was quicker.
            [known] = session.client.states.list(name=name)
            return known.state_id
    finally:
        session.take_back(database)
    # It can be made again.
    session.client.states.unpin(state_id)
    session.notes.states[state_id] = "miss"
    return state_id


def _digest(parent: str, fill: Fill, inputs: Sequence[str], here: Path) -> str:
    found = hashlib.sha256()
    for part in (parent.encode(), inspect.getsource(fill).encode()):
        found.update(hashlib.sha256(part).digest())
    for pattern in inputs:
        paths = sorted(here.glob(pattern))
        if not paths:
            raise pytest.UsageError(f"layer: there is no {pattern} in {here}")
        for path in paths:
            found.update(hashlib.sha256(str(path.relative_to(here)).encode()).digest())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
