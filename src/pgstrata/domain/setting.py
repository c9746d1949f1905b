"""The mark that makes a field a setting."""

from collections.abc import Mapping
from typing import NamedTuple, NewType

Share = NewType("Share", float)
"""A part of a whole: more than 0, at most 1."""


class Setting(NamedTuple):
    """What makes a field a setting: people may say what it is."""

    about: str
    least: int = 0
    """The least that a number, a size or a length of time may be."""
    default: str | None = None
    """The default in words, where it is found only on the machine or None says too little."""
    option: str | None = None
    """The option of its own that it has on the command line, with what stands for its value."""
    restart: bool = False
    """Whether a change takes effect only when the engine is restarted."""
    reserved: Mapping[str, str] = {}
    """Of a map: the names, in lower case, that nobody may set, each with the reason."""
    secret: bool = False
    """Whether no message may show its value."""
