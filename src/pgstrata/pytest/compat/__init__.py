"""Fixtures in the words of other plugins."""
