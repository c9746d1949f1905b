"""Databases for tests with pytest: factories of fixtures, for ``conftest.py``.

The fixtures themselves come with the plugin, which pytest finds by itself.
"""

from pgstrata.pytest.factories import instance, layer, state

__all__ = ["instance", "layer", "state"]
