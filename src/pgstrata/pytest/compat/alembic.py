"""For pytest-alembic: ``from pgstrata.pytest.compat.alembic import alembic_engine`` in
``conftest.py`` gives each of its tests an empty database.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from pgstrata.pytest.fixtures import lent, needed
from pgstrata.pytest.run import session_of
from pgstrata.testing.login import server


@pytest.fixture
def alembic_engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """An engine of SQLAlchemy for an empty database, which migrations fill."""
    with lent(request, lambda: session_of(request.config).build(server())) as database:
        engine = needed("sqlalchemy").create_engine(database.url("psycopg"))
        try:
            yield engine
        finally:
            engine.dispose()
