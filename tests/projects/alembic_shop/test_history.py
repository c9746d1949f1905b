"""With pytest-alembic, whose tests migrate an empty database each."""

import pytest

pytest.importorskip("pytest_alembic")

from pytest_alembic.tests import (
    test_single_head_revision,
    test_up_down_consistency,
    test_upgrade,
)

__all__ = ["test_single_head_revision", "test_up_down_consistency", "test_upgrade"]
