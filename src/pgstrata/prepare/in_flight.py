"""States that are being built: each by one job, while others that need it watch.

Here jobs of one engine find each other. That no other process builds the same state is the build
lock's business.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pgstrata.errors import StepFailedError
from pgstrata.runtime.base import LineSink


class Build:
    """One state's building, by one job."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        """The job that builds."""
        self._followers: list[LineSink] = []
        self._over: asyncio.Future[StepFailedError | bool] = (
            asyncio.get_running_loop().create_future()
        )

    async def followed(self, line: LineSink) -> bool:
        """Watch until it is over, hearing each line its tool says from now on.

        True when the state is there. False when its builder gave up without having shown that the
        step cannot be done (cancelled, say): somebody else has to build then. Raises the builder's
        ``StepFailedError``: the same step on the same parent fails for everybody.
        """
        self._followers.append(line)
        try:
            outcome = await asyncio.shield(self._over)
        finally:
            self._followers.remove(line)
        if isinstance(outcome, StepFailedError):
            raise outcome
        return outcome

    def telling(self, line: LineSink) -> LineSink:
        """A listener for the tool: the builder's own, then everybody who watches."""

        async def tell(text: str) -> None:
            for listener in (line, *self._followers):
                await listener(text)

        return tell

    def end(self, outcome: StepFailedError | bool) -> None:
        self._over.set_result(outcome)


class InFlight:
    """What is being built now, by the ids of the states."""

    def __init__(self) -> None:
        self._current: dict[str, Build] = {}

    def of(self, state_id: str) -> Build | None:
        """The state's building, if someone is at it."""
        return self._current.get(state_id)

    @contextmanager
    def begun(self, state_id: str, job_id: str) -> Iterator[Build]:
        """Be the one who builds a state that nobody is building; all who watch are told the end."""
        build = self._current[state_id] = Build(job_id)
        outcome: StepFailedError | bool = False
        try:
            yield build
            outcome = True
        except StepFailedError as error:
            outcome = error
            raise
        finally:
            del self._current[state_id]
            build.end(outcome)
