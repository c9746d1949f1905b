"""How two states or instances differ: what is asked, and what is found."""

from pgstrata.domain.model import Model


class ComparisonRequest(Model, frozen=True, kw_only=True):
    """Two states or instances to compare."""

    a: str
    """Its id, 8 or more characters of it, or its name."""
    b: str
    rows: bool = False
    """Whether the rows of tables are counted, too."""
    database: str | None = None
    """The only database to compare; None for all."""


class RowCount(Model, frozen=True, kw_only=True):
    """How many rows a table has."""

    database: str
    table: str
    """With its schema."""
    a: int | None
    """None if there is no such table."""
    b: int | None


class Comparison(Model, frozen=True, kw_only=True):
    """How two states or instances differ. Objects are named ``TABLE public.t``."""

    different: bool
    schema: str
    """A unified diff of what changes the schema of the first into that of the second."""
    added: tuple[str, ...]
    """Objects that only the second has."""
    removed: tuple[str, ...]
    """Objects that only the first has."""
    changed: tuple[str, ...]
    rows: tuple[RowCount, ...] | None = None
    """Of every table, if that was asked for."""
