"""Runs psql and pgbench against an instance, where the instance's server is.

The tool runs as the tools of steps do: in a cell, where there are cells, with what it writes passed
on as it comes. No more of that is kept than a reader who is slow can be behind.
"""

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator
from pathlib import Path, PurePath
from typing import Any, Final

from pgstrata.domain.instance import Server
from pgstrata.domain.model import utc_now
from pgstrata.domain.run import (
    RunEvent,
    RunEventType,
    RunRequest,
    RunStep,
    StartedInstance,
    restarted,
)
from pgstrata.errors import (
    InvalidArgumentError,
    NotFoundError,
    PgstrataError,
    ProgramsNotAllowedError,
)
from pgstrata.instances.restarting import Restarting, Running
from pgstrata.registry.registry import Registry
from pgstrata.run import connection_flags
from pgstrata.runtime.base import Runtime, ToolCommand
from pgstrata.system import arguments
from pgstrata.system.cancellation import cancel, finish
from pgstrata.system.output import Stream

_AHEAD: Final = 16
"""How many events a tool may be ahead of its reader. A piece of output has 64 KiB at most."""


class Runs:
    """Runs tools, each as long as somebody reads what it says."""

    def __init__(
        self,
        *,
        registry: Registry,
        restarting: Restarting,
        runtime: Runtime,
        programs_allowed: bool = True,
    ) -> None:
        """``programs_allowed``: whether clients may run programs, as psql itself lets them."""
        self._registry = registry
        self._restarting = restarting
        self._runtime = runtime
        self._programs_allowed = programs_allowed

    async def running(self, ref: str, *, anyway: bool = False) -> StartedInstance:
        """The instance that is meant, with its server running.

        ``anyway``: see ``Restarting.running``. Raises as that and ``Registry.find`` do.
        """
        instance, restarted = await self._running(ref, anyway=anyway)
        return StartedInstance(
            instance_id=instance.instance_id,
            dsn=instance.dsn,
            programs=await self._runtime.programs(instance.image_id),
            restarted=restarted,
        )

    async def begin(self, request: RunRequest) -> AsyncGenerator[RunEvent, None]:
        """Check a request, and return what happens when it is carried out.

        Nothing is run before the first event is asked for, and closing the events ends the tool.
        Raises ``InvalidArgumentError``, ``ProgramsNotAllowedError`` and as ``running`` does.
        """
        if not self._programs_allowed:
            raise ProgramsNotAllowedError(
                f"{request.kind} can run programs, which this engine does not allow to its clients",
                remedy="start the engine with engine.allowPrograms=true",
            )
        steps = steps_of(request)
        return self._events(request, steps, await self._running(request.instance_ref))

    async def _running(self, ref: str, *, anyway: bool = False) -> Running:
        found = await self._registry.find(ref)
        try:
            return await self._restarting.running(found.instance_id, anyway=anyway)
        except NotFoundError:
            # While it waited for its turn, the instance was replaced: the name has another.
            found = await self._registry.find(ref)
            return await self._restarting.running(found.instance_id, anyway=anyway)

    async def _events(
        self, request: RunRequest, steps: tuple[RunStep, ...], running: Running
    ) -> AsyncGenerator[RunEvent, None]:
        events: asyncio.Queue[RunEvent | None] = asyncio.Queue(_AHEAD)
        work = asyncio.create_task(
            self._work(request.kind, steps, running, events), name=f"run of {request.kind}"
        )
        try:
            while (event := await events.get()) is not None:
                yield event
            await work
        finally:
            await finish(cancel(work))

    async def _work(
        self,
        tool: str,
        steps: tuple[RunStep, ...],
        running: Running,
        events: asyncio.Queue[RunEvent | None],
    ) -> None:
        instance_id = running.instance.instance_id
        try:
            await events.put(_event("start", instance_id=instance_id))
            if running.restarted:
                await events.put(_event("log", data=restarted(instance_id)))
            exit_code = 0
            for step in steps:
                exit_code = await self._call(tool, step, running.instance.server, events)
                if exit_code != 0:
                    break
            await events.put(_event("exit", exit_code=exit_code))
        except PgstrataError as error:
            await events.put(_event("error", error=error.body()))
        except Exception:
            await events.put(None)
            raise
        # Not if this is cancelled: nobody reads any more.
        await events.put(None)

    async def _call(
        self, tool: str, step: RunStep, server: Server, events: asyncio.Queue[RunEvent | None]
    ) -> int:
        # A character may be split between two pieces.
        decoders = {name: getincrementaldecoder("utf-8")("replace") for name in _STREAMS}

        async def pass_on(stream: Stream, piece: bytes, *, last: bool = False) -> None:
            if text := decoders[stream].decode(piece, last):
                await events.put(_event(stream, data=text))

        command = ToolCommand(
            tool=tool,
            args=step.args,
            work_dir=Path("/"),
            stdin=step.stdin,
            env=_noticed_by(server),
        )
        ended = await self._runtime.run(server, command, pass_on)
        for stream in _STREAMS:
            await pass_on(stream, b"", last=True)
        return ended.exit_code


_STREAMS: tuple[Stream, Stream] = ("stdout", "stderr")

_NOTICING_MAJOR: Final = 14
"""The first in which a server can be told to notice that a client is gone while a query runs."""


def _noticed_by(server: Server) -> dict[str, str]:
    """Variables with which the server ends the query of a tool that was ended."""
    if server.endpoint.major < _NOTICING_MAJOR:
        return {}
    return {"PGOPTIONS": "-c client_connection_check_interval=1s"}


def steps_of(request: RunRequest) -> tuple[RunStep, ...]:
    """The calls of the tool. Raises ``InvalidArgumentError`` if they are not to be made."""
    if request.command is not None and PurePath(request.command).name != request.kind:
        raise InvalidArgumentError(
            f"command must be {request.kind}, which is run from the instance's own PostgreSQL",
            remedy="omit command",
        )
    if request.steps and request.kind != "psql":
        raise InvalidArgumentError("only psql has steps", remedy="run pgbench once for each")
    if request.steps and (request.args or request.stdin is not None):
        raise InvalidArgumentError(
            "steps are not taken together with args or stdin",
            remedy="give each step its own args and stdin",
        )
    steps = request.steps or (RunStep(args=request.args, stdin=request.stdin),)
    for step in steps:
        connection_flags.check(request.kind, step.args)
        arguments.check((request.kind, *step.args), {})
        reads = request.kind == "psql" and connection_flags.reads_input(step.args)
        if reads and not (step.stdin or "").strip():
            raise InvalidArgumentError(
                "standard input is empty, and `-f -` reads it", remedy="send the script as `stdin`"
            )
    return steps


def _event(kind: RunEventType, **fields: Any) -> RunEvent:
    return RunEvent(type=kind, ts=utc_now(), **fields)
