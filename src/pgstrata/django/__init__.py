"""A database backend for Django: PostgreSQL's own, with test databases of pgstrata.

``"ENGINE": "pgstrata.django"`` in ``DATABASES``; what is not a test goes where it went before.
"""
