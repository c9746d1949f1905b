"""The environment that PostgreSQL's programs are given."""

MINIMAL_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""What PostgreSQL's programs get of an environment: nothing of ours may show in their results."""
