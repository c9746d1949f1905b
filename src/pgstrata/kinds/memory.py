"""A kind without a tool of its own, for tests of everything around a kind."""

from pathlib import Path, PurePosixPath

from pgstrata.domain.identity import Content, digest, step_digest
from pgstrata.domain.instance import Server
from pgstrata.domain.model import Model
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    InvalidArgumentError,
    StepFailedError,
    UncacheableError,
)
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.sources.base import LocalSources, Sources
from pgstrata.runtime.base import LineSink, Runtime, ToolCommand, run_by_lines

TAGGED = "tagged"
"""A script with this word in it has a tag."""
UNKNOWABLE = "unknowable"
"""A script with this word in it cannot be cached."""


class MemoryFields(Model, frozen=True, kw_only=True):
    """The scripts to run."""

    scripts: tuple[str, ...] = ()


class MemoryRecipe:
    """Makes a step of each of the request's ``scripts``, which name files at the sources' root."""

    has_tags = True

    def __init__(self, name: str = "memory") -> None:
        self._name = name
        self._uncached = 0

    @property
    def name(self) -> str:
        return self._name

    def normalize(self, request: PrepareRequest) -> str:
        return " ".join(_scripts(request))

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        return tuple(self._step(script, request, sources) for script in _scripts(request))

    def _step(self, script: str, request: PrepareRequest, sources: Sources) -> Step:
        try:
            seen, text = sources.read(PurePosixPath("/", script), lambda file: file.read().decode())
        except FileNotFoundError:
            raise InvalidArgumentError(
                f"{script} does not exist", remedy="correct the name"
            ) from None
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
            inputs=(seen.input,),
            uncacheable=UNKNOWABLE in text,
            tagged=TAGGED in text,
            parts={script: digest(text)},
        )


class MemoryRunner:
    """Runs the tool ``memory`` with a script's name as argument and its text on standard input."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
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


def _scripts(request: PrepareRequest) -> tuple[str, ...]:
    scripts = fields_of(request, MemoryFields).scripts
    if not scripts and request.start_from is None:
        raise InvalidArgumentError("there is nothing to run", remedy="name a script")
    return scripts
