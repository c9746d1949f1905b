"""Programs whose output a test takes line by line."""

from collections.abc import Sequence
from pathlib import Path

from pgstrata.system import subprocesses
from pgstrata.system.output import Lines, OnLine


async def stream_lines(
    argv: Sequence[str | Path], *, on_line: OnLine, thorough: bool = False
) -> int:
    """``subprocesses.stream`` with lines passed on."""
    lines = Lines(on_line)
    code = await subprocesses.stream(argv, on_output=lines.feed, thorough=thorough)
    await lines.finish()
    return code
