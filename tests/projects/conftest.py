"""A shell for the applications."""

from tests.acceptance.conftest import shared, shared_by_all

__all__ = ["shared", "shared_by_all"]

collect_ignore_glob = ["*_shop"]  # they are run as users do
