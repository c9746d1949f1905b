"""What a test needs and may not find: it is skipped then, and fails in CI, where all is installed.

Only root's rights can be missing in CI, where tests are run by root and by an ordinary user.
"""

import os
from typing import NoReturn

import pytest

IS_ROOT = os.geteuid() == 0

_ROOT = "needs root"

root = pytest.mark.skipif(not IS_ROOT, reason=_ROOT)
"""Marks a test that only root can do."""

no_root = pytest.mark.skipif(IS_ROOT, reason="needs somebody who is not root")
"""Marks a test that is about everybody but root."""


def missing(what: str) -> NoReturn:
    """Give up for want of something that can be installed."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def missing_root(what: str) -> NoReturn:
    """Give up because we are not root."""
    pytest.skip(f"{_ROOT}: {what}")
