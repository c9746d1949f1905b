"""Formatting for people: tables, short ids."""

import os
import re
import unicodedata
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from shlex import quote
from typing import TextIO

SHORT_ID = 12
_QUOTE = "'\"'\"'"
"""How ``shlex`` writes a quote between quotes."""
_LEVEL = "  "
_DEEPEST = 10
"""How deep a tree may be until more of it is blank than not."""


def printable(text: str) -> str:
    """Remove what would move a terminal's cursor or change its colours from text."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text.expandtabs())


def one_line(text: str) -> str:
    """Join text to one line."""
    return printable(" ".join(text.splitlines()))


def cells(text: str) -> int:
    """Return how many columns printable text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def cut(text: str, width: int) -> str:
    """Cut text to at most ``width`` columns, with an ellipsis if it was longer."""
    if cells(text) <= width:
        return text
    if text.isascii():
        return text[: max(width - 1, 0)] + "…"
    ends = accumulate(map(_cells_of, text))
    return text[: sum(end < width for end in ends)] + "…"


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def relative(text: str, directory: Path) -> str:
    """Make paths below a directory, in text, relative to it."""
    if directory == directory.parent:
        return text
    below = f"{directory}/"
    if "'" in text:
        # What only the directory made a shell's quotes necessary for, needs none any more.
        quoted = re.escape("'" + below.replace("'", _QUOTE)) + f"((?:[^']|{_QUOTE})*)'"
        text = re.sub(quoted, lambda found: quote(found[1].replace(_QUOTE, "'")), text)
    return text.replace(below, "")


def columns(stream: TextIO) -> int | None:
    """Return the width of a stream's terminal; None if there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Format aligned columns; with ``width`` each line is cut to it."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *clean, strict=True)]
    lines = [
        "  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in (head, *clean)
    ]
    return "\n".join(lines if width is None else [cut(line, width) for line in lines])


def at_depth(depth: int, text: str) -> str:
    """Indent a line of a tree; below the deepest level that is shown so, its depth is a number.

    Its parent is the nearest line above it whose depth is one less.
    """
    return f"{_LEVEL * min(depth, _DEEPEST)}{f'[{depth}] ' if depth > _DEEPEST else ''}{text}"


def short(identifier: str | None, length: int = SHORT_ID, *, long: bool = False) -> str:
    """Return the first characters of an id, or all if ``long``."""
    text = identifier or "-"
    return text if long else text[:length]


def image(image_id: str | None, *, long: bool = False) -> str:
    """Return an image with its digest shortened, unless ``long``."""
    name, digest_mark, digest = (image_id or "-").partition("@sha256:")
    if long or not digest_mark:
        return image_id or "-"
    return f"{name}@{digest[:SHORT_ID]}"


def equipment(extensions: Sequence[str], lacks: Sequence[str]) -> str:
    """Describe the extensions of a PostgreSQL: ``48 extensions; lacks pgcrypto, ICU``."""
    count = f"{len(extensions)} extension{'' if len(extensions) == 1 else 's'}"
    return f"{count}; lacks {', '.join(lacks)}" if lacks else count
