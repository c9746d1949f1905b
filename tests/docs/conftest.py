"""A shell for the pages of the docs, one after the other."""

from tests.acceptance.conftest import shared, shared_by_all

__all__ = ["shared", "shared_by_all"]

collect_ignore = ["given"]  # what pages take for given has tests of its own
