"""Throw-away PostgreSQL databases, prepared once and cloned in milliseconds."""

__version__ = "0.1.0"
