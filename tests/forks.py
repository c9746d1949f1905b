"""Work done in a forked process: as another user, or disturbed at a chosen step.

A step is what Python announces to audit hooks before it does it. Such a hook cannot be taken away
again, which is why each gets a process of its own.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - nobody may be unable to read it later
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import IntEnum

from pgstrata.system.planted import PlantedFileError

Work = Callable[[], Coroutine[None, None, object]]
Action = Callable[[], object]

NOBODY = 65534

_SET_DUMPABLE = 4  # PR_SET_DUMPABLE of the kernel's include/uapi/linux/prctl.h

_STEPS = ("os.", "fcntl.", "open", "subprocess.", "ctypes.")
"""What the audit events of steps that reach the disk begin with."""


class Ended(IntEnum):
    """How the work ended; the numbers are exit codes."""

    DONE = 0
    FAILED = 1
    CANCELLED = 2
    UNDISTURBED = 3
    """Done before it came to the step it should have been disturbed at."""
    KILLED = -signal.SIGKILL


def done_as_nobody(work: Work) -> None:
    """Do the work as a user without rights; it must succeed."""

    async def as_nobody() -> Ended:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        # Who was root once is not trusted with his own entry in /proc, unless he asks for it.
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 1, 0, 0, 0)
        await work()
        return Ended.DONE

    assert _in_fork(as_nobody) is Ended.DONE


def done_with(action: Action, before: str, work: Work) -> None:
    """Do the work, and the action once, right before its first step of this name.

    The work must succeed.
    """

    async def disturbed() -> Ended:
        _before_step(0, (before,), action)
        await work()
        return Ended.DONE

    assert _in_fork(disturbed) is Ended.DONE


def disturbed_at_step(number: int, action: Action, work: Work) -> Ended:
    """Do the work, and the action right before its ``number``-th step, from 0.

    ``DONE``, or ``UNDISTURBED``; the work may fail, since its files are not what it expects.
    """

    async def disturbed() -> Ended:
        ended = Ended.UNDISTURBED

        def act() -> None:
            nonlocal ended
            ended = Ended.DONE
            action()

        _before_step(number, _STEPS, act)
        with suppress(OSError, PlantedFileError):
            await work()
        return ended

    ended = _in_fork(disturbed)
    assert ended in (Ended.DONE, Ended.UNDISTURBED)
    return ended


def killed_at_step(number: int, work: Work) -> Ended:
    """Do the work, but SIGKILL the process before its ``number``-th step, from 0.

    ``KILLED`` or ``UNDISTURBED``; it must not fail.
    """

    async def doomed() -> Ended:
        _before_step(number, _STEPS, lambda: os.kill(os.getpid(), signal.SIGKILL))
        await work()
        return Ended.UNDISTURBED

    ended = _in_fork(doomed)
    assert ended in (Ended.KILLED, Ended.UNDISTURBED)
    return ended


def cancelled_at_step(number: int, work: Work) -> Ended:
    """Do the work, but cancel it while it takes its ``number``-th step, from 0.

    ``CANCELLED``, ``DONE`` when that came too late, or ``UNDISTURBED``; it must not fail.
    """

    async def disturbed() -> Ended:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work())
        ended = Ended.UNDISTURBED

        def cancel() -> None:
            nonlocal ended
            ended = Ended.DONE
            loop.call_soon_threadsafe(task.cancel)

        _before_step(number, _STEPS, cancel)
        await asyncio.wait((task,))
        if task.cancelled():
            return Ended.CANCELLED
        task.result()
        return ended

    ended = _in_fork(disturbed)
    assert ended in (Ended.CANCELLED, Ended.DONE, Ended.UNDISTURBED)
    return ended


def _before_step(number: int, names: tuple[str, ...], action: Action) -> None:
    left = number

    def hook(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event.startswith(names):
            left -= 1
            if left == -1:  # once only: the action takes steps too
                action()

    sys.addaudithook(hook)


def _in_fork(work: Callable[[], Coroutine[None, None, Ended]]) -> Ended:
    child = os.fork()
    if child == 0:
        ended = Ended.FAILED
        try:
            ended = asyncio.run(work())
        except BaseException:  # noqa: BLE001 - the fork must never get past this
            traceback.print_exc()
        finally:
            os._exit(ended)
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
