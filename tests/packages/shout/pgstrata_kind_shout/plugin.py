"""What the kind says of itself. Imported by the command line: nothing that takes long up here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Caller, CommandLine, Given, Help, Option

if TYPE_CHECKING:
    from pgstrata.kinds.base import Kind

    from .kind import ShoutFields
    from .settings import ShoutSettings


def request(given: Given, caller: Caller) -> dict[str, Any]:
    """``prepare:shout [--times N] FILE…``"""
    if not given.words:
        raise InvalidArgumentError("there is nothing to shout", remedy="name a file of lines")
    fields: dict[str, Any] = {"shout_files": [str(caller.work_dir / word) for word in given.words]}
    if times := given.read("--times", _count):
        fields["shout_times"] = times
    return fields


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f'"{text}" is no number of times')
    return int(text)


class _Plugin:
    name = "shout"
    section = "shout"
    command_line = CommandLine(
        words="FILE…",
        prepare=Help(
            summary="make a database of shouted lines, or reuse one",
            about="Makes a database with a table of all lines in capitals. Each file is a step.",
            examples=("pgstrata prepare:shout --times 2 hello.txt",),
        ),
        plan=Help(
            summary="show which files are to be shouted, and which are cached",
            about="Shows the files: which were shouted before and which would be now.",
            examples=("pgstrata plan:shout hello.txt",),
        ),
        request=request,
        options=(Option(("--times",), "how often to shout each line: 1", "N"),),
    )

    def settings(self) -> "type[ShoutSettings]":
        from .settings import ShoutSettings

        return ShoutSettings

    def request_fields(self) -> "type[ShoutFields]":
        from .kind import ShoutFields

        return ShoutFields

    @asynccontextmanager
    async def open(self, settings: "ShoutSettings") -> "AsyncIterator[Kind]":
        from pgstrata.kinds.base import Kind

        from .kind import ShoutRecipe, ShoutRunner

        yield Kind(ShoutRecipe(settings.mark), ShoutRunner())


PLUGIN = _Plugin()
