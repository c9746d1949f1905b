"""The kind's two sides: files of lines become steps, and a step becomes rows of a table."""

import asyncio
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

import msgspec

from pgstrata.domain.identity import digest, step_digest
from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError, StepFailedError, UncacheableError
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.sources.base import LocalSources, Seen, Sources, local_path
from pgstrata.kinds.sources.memo import Memo
from pgstrata.runtime.base import LineSink, Runtime, ToolCommand, run_by_lines

UNKNOWABLE = "whatever"
"""Nobody knows beforehand what a file with this line says."""


class ShoutFields(Model, frozen=True, kw_only=True):
    """What a request has of its own."""

    shout_files: tuple[str, ...] = ()
    """Absolute paths."""
    shout_times: Annotated[int, msgspec.Meta(ge=1)] = 1


class ShoutRecipe:
    """Makes a step of each file."""

    name = "shout"

    def __init__(self, mark: str = "!") -> None:
        self._mark = mark
        self._lines = Memo(_lines, 100)
        self._unknown = 0

    def normalize(self, request: PrepareRequest) -> str:
        fields = fields_of(request, ShoutFields)
        if not fields.shout_files:
            raise InvalidArgumentError("there is nothing to shout", remedy="name a file of lines")
        return " ".join((f"--times={fields.shout_times}", *fields.shout_files))

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        self.normalize(request)
        # Reading may block.
        return await asyncio.to_thread(self._steps, request, sources)

    def _steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        fields = fields_of(request, ShoutFields)
        return tuple(self._step(name, fields, request, sources) for name in fields.shout_files)

    def _step(
        self, name: str, fields: ShoutFields, request: PrepareRequest, sources: Sources
    ) -> Step:
        seen, lines = self._lines.read(sources, PurePosixPath(name))
        if lines is None:
            raise InvalidArgumentError(f"there is no {name}", remedy="correct its path")
        known = UNKNOWABLE not in lines
        if not known and request.uncacheable == "refuse":
            raise UncacheableError(
                f"{name} may say anything", remedy="run it uncached with --uncacheable=run"
            )
        self._unknown += not known
        return Step(
            kind=self.name,
            digest=self._digest(seen, fields, None if known else self._unknown),
            # All that the runner learns about the request.
            args=(name, str(fields.shout_times), self._mark),
            title=f"shout {name}",
            work_dir=Path("/"),
            inputs=(seen.input,),
            uncacheable=not known,
            parts={
                name: seen.input.digest or "",
                "shout_times": digest(fields.shout_times),
                "setting shout.mark": digest(self._mark),
            },
        )

    def _digest(self, seen: Seen, fields: ShoutFields, nonce: int | None) -> str:
        """All that can change the outcome: not where the file is, but what is in it."""
        content = [seen.input.digest, fields.shout_times, self._mark, nonce]
        return step_digest(self.name, content)


class ShoutRunner:
    """Fills the table, with psql as its tool."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
        name, times, mark = step.args
        path = local_path(sources.local_root, PurePosixPath(name))
        command = ToolCommand(
            tool="psql",
            args=(
                *("-X", "-q", "-v", "ON_ERROR_STOP=1"),
                *("-v", f"mark={mark}", "-v", f"times={times}", "-f", "-"),
            ),
            work_dir=path.parent,
            stdin=_script(path.name),
        )
        ended = await run_by_lines(runtime, server, command, line)
        if ended.exit_code != 0:
            raise StepFailedError(
                f"{name} cannot be shouted",
                remedy=f"correct {name}, and prepare again",
                details=ended.stderr_tail or None,
            )


def _lines(file: BinaryIO) -> tuple[str, ...]:
    return tuple(file.read().decode("utf-8", "replace").splitlines())


def _script(file: str) -> str:
    quoted = file.replace("'", "''")
    return f"""
        create table if not exists shouts (line text);
        create temporary table heard (line text);
        \\copy heard from '{quoted}'
        insert into shouts
            select upper(line) || :'mark' from heard, generate_series(1, :times);
    """
