"""A tool's lines, also those that are longer than anybody would keep."""

import asyncio

import pytest

from pgstrata.system.output import GOES_ON, MOST_LINE_BYTES, Lines, Stream


async def _lines_of(written: bytes, piece_bytes: int) -> list[str]:
    """The lines that are passed on when so much comes at once."""
    taken: list[str] = []

    async def take(_stream: Stream, line: str) -> None:
        taken.append(line)

    lines = Lines(take)
    for start in range(0, len(written), piece_bytes):
        await lines.feed("stdout", written[start : start + piece_bytes])
    await lines.finish()
    return taken


@pytest.mark.parametrize("piece_bytes", [1 << 16, 999_999, 1 << 24])
@pytest.mark.parametrize("character", ["x", "é", "日", "🐘"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_long_line_comes_in_marked_pieces_and_none_cuts_a_character(
    character: str, piece_bytes: int, end: str
) -> None:
    long = "a" + character * (2 * MOST_LINE_BYTES // len(character.encode()) + 5)
    written = f"before\n{long}{end}".encode()
    before, *pieces, last = asyncio.run(_lines_of(written, piece_bytes))
    assert before == "before"
    assert "".join(piece.removesuffix(GOES_ON) for piece in pieces) + last == long
    assert [piece.endswith(GOES_ON) for piece in (*pieces, last)] == [True] * 2 + [False]
    assert max(len(piece.removesuffix(GOES_ON).encode()) for piece in pieces) <= MOST_LINE_BYTES


def test_a_line_that_is_just_not_too_long_comes_whole_and_bytes_that_are_no_text_as_well() -> None:
    whole = b"\x80" * MOST_LINE_BYTES
    assert asyncio.run(_lines_of(whole + b"\nend", 1 << 16)) == ["�" * MOST_LINE_BYTES, "end"]
    assert len(asyncio.run(_lines_of(whole + b"\x80\nend", 1 << 16))) == 3
