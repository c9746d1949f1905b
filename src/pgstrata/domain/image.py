"""Images: the PostgreSQL that a cluster is made with."""

from pathlib import Path

from pgstrata.domain.model import Model

ICU = "ICU"
"""Collations from the ICU library, which a server is built with or without."""

EXPECTED = ("pgcrypto", "uuid-ossp", "pg_trgm", "btree_gist", "citext", "hstore", ICU)
"""What a complete PostgreSQL has: the usual modules of contrib, and ICU."""


class Installation(Model, frozen=True, kw_only=True):
    """A PostgreSQL found on this machine."""

    version: str
    """As PostgreSQL writes it, such as ``16.4``."""
    major: int
    bin_dir: Path
    source: str
    """How it was found, for people: ``PATH``, ``Debian packages``, a Python package's name."""
    problem: str | None = None
    """Why it cannot be used; None if it can."""
    extensions: tuple[str, ...] = ()
    """What it can ``CREATE EXTENSION``, in alphabetical order."""
    lacks: tuple[str, ...] = ()
    """Which of ``EXPECTED`` it does not have."""


class ResolvedImage(Model, frozen=True, kw_only=True):
    """An image with its digest, which identifies the one PostgreSQL of the states made with it."""

    image_id: str
    """``postgres@sha256:<64 hex>``."""
    version: str
    parts: dict[str, str] = {}
    """What it consists of, each part's digest by its name for people, such as ``tzdata``."""
