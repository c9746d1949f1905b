"""Images: which PostgreSQL a cluster is made with."""

from pathlib import Path

from pgstrata.domain.model import Model

ICU = "ICU"
"""Collations by the ICU library, which a server is built with or without."""

EXPECTED = ("pgcrypto", "uuid-ossp", "pg_trgm", "btree_gist", "citext", "hstore", ICU)
"""What a PostgreSQL has that is complete: the usual modules of contrib, and ICU."""


class Installation(Model, frozen=True, kw_only=True):
    """A PostgreSQL found on this machine."""

    version: str
    """As PostgreSQL writes it, for instance ``16.4``."""
    major: int
    bin_dir: Path
    source: str
    """How it was found, for people: ``PATH``, ``Debian packages``, a Python package's name."""
    problem: str | None = None
    """Why it cannot be used, where it cannot."""
    extensions: tuple[str, ...] = ()
    """What it can ``CREATE EXTENSION``, in alphabetical order."""
    lacks: tuple[str, ...] = ()
    """Which of the modules that most people expect (``EXPECTED``) it does not have."""


class ResolvedImage(Model, frozen=True, kw_only=True):
    """An image with its digest: the one PostgreSQL that states made with it belong to."""

    image_id: str
    """``postgres@sha256:<64 hex>``."""
    version: str
