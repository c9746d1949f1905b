"""An executor in another process, behind a pipe: so that its port is known to be crossed by data.

Each message is a line of JSON. ``python -m tests.pipe_executor DIRECTORY`` is the far end: an
executor on adapters in memory, which serves the one that started it until its input ends.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pgstrata.domain.image import ResolvedImage
from pgstrata.domain.instance import Instance
from pgstrata.domain.model import Model, from_plain, to_plain
from pgstrata.domain.reason import Evidence, StepRecord
from pgstrata.domain.state import State
from pgstrata.errors import PgstrataError
from pgstrata.instances.starting import InstanceOrder
from pgstrata.prepare.executor import Executor, Known, StateOrder, StepRun
from pgstrata.runtime.base import LineSink, Passed

T = TypeVar("T")

LIMIT_BYTES = 1 << 20

LOGGING = frozenset({"run_steps"})
"""The calls that say lines while they last."""

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "resolve_image": (str,),
    "check_limits": (str | None,),
    "check_name": (str,),
    "look_up": (list[str],),
    "find_state": (str,),
    "evidence": (list[str], StepRecord | None),
    "failures": (list[str],),
    "acquire": (list[str],),
    "release": (str,),
    "has_room": (str | None,),
    "run_steps": (list[StateOrder],),
    "keep_state": (str,),
    "close_workspace": (str,),
    "start_instance": (InstanceOrder,),
    "discard_instance": (str,),
    "recover": (),
}


class Error(Model, frozen=True, kw_only=True):
    """An error as it crosses."""

    code: str
    message: str
    remedy: str | None
    details: str | None


class Ask(Model, frozen=True, kw_only=True):
    """A call, or with no name the wish to cancel the call of that number."""

    number: int
    call: str | None = None
    arguments: tuple[Any, ...] = ()


class Answer(Model, frozen=True, kw_only=True):
    """A line of log, or else the end of a call."""

    number: int
    line: str | None = None
    passed: bool = False
    """Whether the line is none, but ``Passed``."""
    error: Error | None = None
    cancelled: bool = False
    result: Any = None


def _encoded(message: Model) -> bytes:
    return msgspec.json.encode(message, enc_hook=to_plain) + b"\n"


class PipeExecutor:
    """An ``Executor`` that asks the one at the other end of a pipe."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to, self._back = process.stdin, process.stdout
        self._answers: dict[int, asyncio.Queue[Answer]] = {}
        self._number = 0

    async def resolve_image(self, image_id: str) -> ResolvedImage:
        return await self._ask(ResolvedImage, "resolve_image", image_id)

    async def check_limits(self, replaced: str | None = None) -> None:
        await self._ask(type(None), "check_limits", replaced)

    async def check_name(self, name: str) -> None:
        await self._ask(type(None), "check_name", name)

    async def find_state(self, ref: str) -> State:
        return await self._ask(State, "find_state", ref)

    async def look_up(self, state_ids: Sequence[str]) -> Known:
        return await self._ask(Known, "look_up", state_ids)

    async def evidence(self, state_ids: Sequence[str], step: StepRecord | None) -> Evidence:
        return await self._ask(Evidence, "evidence", state_ids, step)

    async def failures(self, state_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        return await self._ask(dict[str, tuple[str, ...]], "failures", state_ids)

    async def acquire(self, state_ids: Sequence[str]) -> str:
        return await self._ask(str, "acquire", state_ids)

    async def release(self, lease_id: str) -> None:
        await self._ask(type(None), "release", lease_id)

    async def has_room(self, state_id: str | None) -> bool:
        return await self._ask(bool, "has_room", state_id)

    async def run_steps(self, orders: Sequence[StateOrder], log: LineSink) -> StepRun | None:
        ran: Any = StepRun | None
        result: StepRun | None = await self._ask(ran, "run_steps", orders, log=log)
        return result

    async def keep_state(self, job_id: str) -> bool:
        return await self._ask(bool, "keep_state", job_id)

    async def close_workspace(self, job_id: str) -> None:
        await self._ask(type(None), "close_workspace", job_id)

    async def start_instance(self, order: InstanceOrder) -> Instance:
        return await self._ask(Instance, "start_instance", order)

    async def discard_instance(self, job_id: str) -> None:
        await self._ask(type(None), "discard_instance", job_id)

    async def recover(self) -> None:
        await self._ask(type(None), "recover")

    async def listen(self) -> None:
        """Hand each answer to who waits for it, until there are no more."""
        while line := await self._back.readline():
            answer = msgspec.json.decode(line, type=Answer)
            self._answers[answer.number].put_nowait(answer)

    async def _ask(
        self, kind: type[T], call: str, *arguments: object, log: LineSink | None = None
    ) -> T:
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.Queue()
        self._to.write(_encoded(Ask(number=number, call=call, arguments=arguments)))
        try:
            end = await self._end(number, log)
        except asyncio.CancelledError:
            self._to.write(_encoded(Ask(number=number)))
            # Cancelled, a call has undone what it began before it ends.
            end = await self._end(number, None)
            if call == "acquire" and end.result is not None:
                await self.release(end.result)
            raise
        finally:
            del self._answers[number]
        if end.error is not None:
            raise _error(end.error)
        return msgspec.convert(end.result, kind, dec_hook=from_plain)

    async def _end(self, number: int, log: LineSink | None) -> Answer:
        while (answer := await self._answers[number].get()).line is not None:
            if log is not None:
                await log(Passed() if answer.passed else answer.line)
        return answer


@asynccontextmanager
async def executor_behind_a_pipe(directory: Path) -> AsyncIterator[PipeExecutor]:
    """An executor in a process of its own, which ends with this."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.pipe_executor", directory),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LIMIT_BYTES,
    )
    executor = PipeExecutor(process)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(executor.listen())
        try:
            yield executor
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


def _error(crossed: Error) -> PgstrataError:
    """The error of this code: the plainest class that has it."""
    everyone: list[type[PgstrataError]] = [PgstrataError, *_below(PgstrataError)]
    kind = next(each for each in everyone if each.code == crossed.code)
    return kind(crossed.message, remedy=crossed.remedy, details=crossed.details)


def _below(kind: type[PgstrataError]) -> Iterator[type[PgstrataError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


class _FarEnd:
    """Carries out what is asked for at the other end."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._calls: dict[int, asyncio.Task[None]] = {}

    async def serve(self, asks: asyncio.StreamReader) -> None:
        while line := await asks.readline():
            ask = msgspec.json.decode(line, type=Ask)
            if ask.call is None:
                if ask.number in self._calls:
                    self._calls[ask.number].cancel()
            else:
                self._calls[ask.number] = asyncio.create_task(self._carry_out(ask, ask.call))

    async def _carry_out(self, ask: Ask, call: str) -> None:
        arguments: list[object] = [
            msgspec.convert(argument, kind, dec_hook=from_plain)
            for argument, kind in zip(ask.arguments, ARGUMENTS[call], strict=True)
        ]

        async def log(text: str) -> None:
            passed = isinstance(text, Passed)
            self._say(Answer(number=ask.number, line=text, passed=passed))

        if call in LOGGING:
            arguments.append(log)
        try:
            result = await getattr(self._executor, call)(*arguments)
        except asyncio.CancelledError:
            answer = Answer(number=ask.number, cancelled=True)
        except PgstrataError as error:
            crossing = Error(
                code=error.code, message=error.message, remedy=error.remedy, details=error.details
            )
            answer = Answer(number=ask.number, error=crossing)
        else:
            answer = Answer(number=ask.number, result=result)
        del self._calls[ask.number]
        self._say(answer)

    def _say(self, answer: Answer) -> None:
        sys.stdout.buffer.write(_encoded(answer))
        sys.stdout.buffer.flush()


async def _serve(directory: Path) -> None:
    from tests.unit.prepare.heart import Heart

    asks = asyncio.StreamReader(limit=LIMIT_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(asks), sys.stdin
    )
    await _FarEnd(Heart(directory).executor).serve(asks)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
