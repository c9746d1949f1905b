"""The environment that PostgreSQL's programs are given."""

MINIMAL_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of our own environment may affect the results of PostgreSQL's programs."""
