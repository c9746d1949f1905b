"""A kind whose scripts live in memory: for tests of everything around a kind."""

from collections.abc import MutableMapping
from pathlib import Path

from pgstrata.domain.identity import Content, step_digest
from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    InputChangedError,
    InvalidArgumentError,
    StepFailedError,
    UncacheableError,
)
from pgstrata.runtime.base import LineSink, Runtime, ToolCommand, run_by_lines

UNKNOWABLE = "unknowable"
"""A script with this word in it cannot be cached."""


class MemoryKind:
    """Takes each of the request's ``psql_args`` for the name of a script, and that for a step.

    The scripts are ``files``, which the owner may change at any time. A step's command is the tool
    ``memory`` with the script's name as argument and its text on standard input.
    """

    def __init__(self, files: MutableMapping[str, str], name: str = "memory") -> None:
        self.files = files
        self._name = name
        self._uncached = 0

    @property
    def name(self) -> str:
        return self._name

    def normalize(self, request: PrepareRequest) -> str:
        if not request.psql_args:
            raise InvalidArgumentError("there is nothing to run", remedy="name a script")
        return " ".join(request.psql_args)

    async def steps(self, request: PrepareRequest) -> tuple[Step, ...]:
        self.normalize(request)
        return tuple(self._step(script, request) for script in request.psql_args)

    def _step(self, script: str, request: PrepareRequest) -> Step:
        text = self.files.get(script)
        if text is None:
            raise InvalidArgumentError(f"{script} does not exist", remedy="correct the name")
        if UNKNOWABLE in text and request.uncacheable == "refuse":
            raise UncacheableError(
                f"{script}: it is {UNKNOWABLE}", remedy="run it uncached with --uncacheable=run"
            )
        self._uncached += UNKNOWABLE in text
        content: list[Content] = [text, self._uncached] if UNKNOWABLE in text else [text]
        return Step(
            kind=self._name,
            digest=step_digest(self._name, content),
            args=(script,),
            title=script,
            work_dir=Path("/"),
            stdin=text,
        )

    async def check_unchanged(self, step: Step) -> None:
        if self.files.get(step.title) != step.stdin:
            raise InputChangedError(f"{step.title} changed", remedy="prepare again")

    async def execute(
        self,
        step: Step,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        *,
        flush_query: str | None = None,
    ) -> str | None:
        command = ToolCommand(
            tool="memory", args=step.args, work_dir=step.work_dir, stdin=step.stdin
        )
        ended = await run_by_lines(runtime, server, command, line)
        if ended.exit_code != 0:
            raise StepFailedError(
                f"{step.title} ended with exit code {ended.exit_code}",
                remedy=f"correct {step.title}",
                details=ended.stderr_tail or None,
            )
        return None
