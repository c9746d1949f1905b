"""What hostile tests share with acceptance tests."""

from tests.acceptance.conftest import pgstrata

__all__ = ["pgstrata"]
