"""Tables that fit a terminal: which columns give way to the last, which says most."""

from collections.abc import Sequence

from pgstrata.cli.text import one_line, table

_GAP = 2
_ENOUGH = 32
"""How much of the last column is shown before others are left out for it."""


def width_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The width of a table of which nothing is left out."""
    return sum(_widths(head, rows)) + _GAP * (len(head) - 1)


def fitted(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    yielding: Sequence[str],
    width: int,
    *,
    whole: bool = False,
) -> str:
    """Format a table for a terminal of this width.

    Columns without any value are left out first, then those of ``yielding`` in its order, until
    enough of the last column is seen, or all of it if ``whole``.
    """
    empty = [
        name for place, name in enumerate(head[:-1]) if all(row[place] in ("-", "") for row in rows)
    ]
    kept = list(head)
    for name in (*empty, *yielding):
        *others, last = _widths(kept, _of(head, rows, kept))
        wanted = last if whole else min(last, _ENOUGH)
        if sum(others) + _GAP * len(others) + wanted <= width:
            break
        if name in kept:
            kept.remove(name)
    return table(kept, _of(head, rows, kept), width)


def _of(head: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[str]) -> list[list[str]]:
    places = [place for place, name in enumerate(head) if name in kept]
    return [[row[place] for place in places] for row in rows]


def _widths(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(one_line(cell)) for cell in column) for column in zip(head, *rows, strict=True)]
