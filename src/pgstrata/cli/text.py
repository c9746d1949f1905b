"""How things are written for people: tables, sizes, ages, durations, short ids."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

SHORT_ID = 12
_UNITS = ("B", "kB", "MB", "GB", "TB")
_AGES = ((86400, "d"), (3600, "h"), (60, "min"))


def printable(text: str) -> str:
    """Text from elsewhere without what would move a terminal's cursor or change its colours."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text.expandtabs())


def one_line(text: str) -> str:
    """Text as one line."""
    return printable(" ".join(text.splitlines()))


def cut(text: str, width: int) -> str:
    """Text at most ``width`` characters wide, an ellipsis where it was cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def relative(text: str, directory: Path) -> str:
    """Text with paths below a directory written as from there."""
    return text.replace(f"{directory}/", "") if directory != directory.parent else text


def columns(stream: TextIO) -> int | None:
    """How wide the terminal behind a stream is; None when there is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Aligned columns; with ``width`` each line is cut to it."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *clean, strict=True)]
    lines = [
        "  ".join(f"{cell:<{size}}" for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in (head, *clean)
    ]
    return "\n".join(lines if width is None else [cut(line, width) for line in lines])


def short(identifier: str | None, *, long: bool = False) -> str:
    """The beginning of an id, enough to name it; the whole of it when ``long``."""
    text = identifier or "-"
    return text if long else text[:SHORT_ID]


def image(image_id: str | None, *, long: bool = False) -> str:
    """An image, its digest shortened."""
    name, digest_mark, digest = (image_id or "-").partition("@sha256:")
    if long or not digest_mark:
        return image_id or "-"
    return f"{name}@{digest[:SHORT_ID]}"


def size(count: int | None) -> str:
    """Bytes for people: ``1.5 MB``, by thousands."""
    if count is None:
        return "-"
    amount, units = float(count), iter(_UNITS)
    unit = next(units)
    while amount >= 999.5 and unit != _UNITS[-1]:
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.95 else f"{amount:.1f} {unit}"


def moment(text: str) -> datetime:
    """An RFC 3339 timestamp. Raises ``ValueError``."""
    return datetime.fromisoformat(text)


def age(timestamp: str | None, now: datetime | None = None) -> str:
    """How long ago: ``3 min``."""
    if timestamp is None:
        return "-"
    return span(((now or datetime.now(UTC)) - moment(timestamp)).total_seconds())


def until(timestamp: str | None, now: datetime | None = None) -> str:
    """How long until then; ``-`` for never."""
    if timestamp is None:
        return "-"
    left = (moment(timestamp) - (now or datetime.now(UTC))).total_seconds()
    return span(left) if left > 0 else "over"


def span(seconds: float) -> str:
    """A length of time in its largest unit: ``45 s``, ``3 min``, ``2 h``, ``5 d``."""
    whole = max(int(seconds), 0)
    for length, unit in _AGES:
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def seconds(amount: float) -> str:
    """A short time, measured: ``12 ms``, ``0.8 s``, ``2 min 5 s``."""
    if amount < 0.3:
        return f"{amount * 1000:.0f} ms"
    if amount < 60:
        return f"{amount:.1f} s"
    return f"{int(amount) // 60} min {int(amount) % 60} s"
