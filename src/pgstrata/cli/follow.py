"""Following a job to its end, and leaving it when a signal says so."""

import signal
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from pgstrata.cli.command import Context, Detached
from pgstrata.cli.follower import Ending, Follower
from pgstrata.system.signals import ENDING, handling

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine


def follow(
    context: Context,
    engine: "Engine",
    job_id: str,
    *,
    start: int = 0,
    queue_place: int | None = None,
) -> Ending:
    """Show a job's progress on stderr, from event number ``start`` on, until it ends.

    ``queue_place``: its position in the queue for a slot, if it waits for one. Raises
    ``JobFailedError`` if the job failed, ``UnreachableError`` if the engine is lost for good,
    ``WaitedTooLongError``, and ``Detached`` if the user detaches.
    """
    follower = Follower(context, engine, job_id, start)
    if queue_place is not None:
        follower.progress.note(f"queued: position {queue_place} in the queue")
    with handling((signal.SIGCONT,), lambda _number, _frame: follower.progress.resume()):
        try:
            return follower.run()
        finally:
            follower.progress.stop()


def watch(
    context: Context,
    engine: "Engine",
    job_id: str,
    *,
    start: int = 0,
    queue_place: int | None = None,
) -> Ending:
    """The same for a job that goes on without us: raises ``Detached`` if a signal ends us, too."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        # A hangup may come several times. Whoever asks twice need not wait for anything.
        again = signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL
        signal.signal(number, again)
        raise Detached(job_id, 128 + number)

    with handling(ENDING, leave):
        return follow(context, engine, job_id, start=start, queue_place=queue_place)
