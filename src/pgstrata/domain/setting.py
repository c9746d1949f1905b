"""The mark that makes a field a setting."""

from collections.abc import Mapping
from typing import NamedTuple, NewType

Share = NewType("Share", float)
"""A fraction of a whole: more than 0, at most 1."""


class Form(NamedTuple):
    """What a text must look like."""

    name: str
    """For people: ``a locale's name``."""
    rule: str
    """What it consists of, worded to continue ``name``."""
    pattern: str
    """A regular expression that matches no more than it, as a whole."""


class Setting(NamedTuple):
    """Marks a field as a setting, which users can set."""

    about: str
    least: int = 0
    """The minimum of a number, a size or a duration."""
    default: str | None = None
    """The default in words, if it depends on the machine or None says too little."""
    option: str | None = None
    """Its own command-line option, if it has one, with a placeholder for its value."""
    restart: bool = False
    """Whether a change takes effect only when the engine is restarted."""
    reserved: Mapping[str, str] = {}
    """In a map, the names, in lower case, that cannot be set, each with the reason."""
    entry: str | None = None
    """In a map, a regular expression that each name matches as a whole."""
    form: Form | None = None
    """What a text must look like; None if any will do."""
    secret: bool = False
    """Whether messages must not show its value."""
