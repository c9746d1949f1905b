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
    from pgstrata.testing.pg import Pg

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
        from pgstrata.testing.filling import filled

        session = session_of(request.config)
        state_id: str = request.getfixturevalue(parent)
        with told_in_a_line():
            for step in steps:
                if callable(step):
                    name = None if inputs is None else _name(state_id, step, inputs, here)
                    state_id = filled(session, state_id, step, name)
                else:
                    path_or_sql = step if isinstance(step, str) else here / step
                    state_id = session.build(of_state(state_id).then(path_or_sql))
        return state_id

    return fixture


def instance(state: str, scope: Scope = "function") -> Any:
    """A fixture with a database of a state, which the fixture ``state`` has."""

    @pytest.fixture(scope=scope)
    def fixture(request: pytest.FixtureRequest) -> "Iterator[Pg]":
        from pgstrata.pytest.fixtures import lent, state_of

        with lent(request, lambda: state_of(request, state)) as database:
            yield database

    return fixture


def _caller() -> Path:
    frame = inspect.stack()[2]
    return Path(frame.filename).parent


def _name(parent: str, fill: Fill, inputs: Sequence[str], here: Path) -> str:
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
    return f"layer-{found.hexdigest()[:40]}"
