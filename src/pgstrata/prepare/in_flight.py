"""States being built, each by one job, while other jobs that need it follow.

This is how jobs of one engine find each other. Build leases keep other engines from building the
same state.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pgstrata.errors import StepFailedError
from pgstrata.runtime.base import LineSink


class Build:
    """The build of one state by one job."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        """The job that builds."""
        self.step: str | None = None
        """The state that the step leads to which runs, or failed."""
        self.is_complete = False
        """Whether the state exists."""
        self._followers: list[LineSink] = []
        self._outcome: asyncio.Future[StepFailedError | bool] = (
            asyncio.get_running_loop().create_future()
        )

    async def follow(self, line: LineSink) -> bool:
        """Wait for the end of the build, and pass on each line its tool writes from now on.

        Returns True if the state exists, and False if the builder gave up without showing that the
        step fails (it was cancelled, for example), so that another job must build it. Raises the
        builder's ``StepFailedError``: the same step on the same parent fails for every job.
        """
        self._followers.append(line)
        try:
            outcome = await asyncio.shield(self._outcome)
        finally:
            self._followers.remove(line)
        if isinstance(outcome, StepFailedError):
            raise outcome
        return outcome

    def broadcast(self, line: LineSink) -> LineSink:
        """Make a sink for the tool's output that feeds the builder's own, then every follower's."""

        async def pass_on(text: str) -> None:
            for sink in (line, *self._followers):
                await sink(text)

        return pass_on

    def end(self, outcome: StepFailedError | bool) -> None:
        self._outcome.set_result(outcome)


class InFlight:
    """The builds in progress, by the ids of their states."""

    def __init__(self) -> None:
        self._builds: dict[str, Build] = {}

    def find(self, state_id: str) -> Build | None:
        """Find the build of a state, if one is in progress."""
        return self._builds.get(state_id)

    @contextmanager
    def register(self, state_id: str, job_id: str) -> Iterator[Build]:
        """Register a job as the only builder of a state; followers learn how the block ends."""
        build = self._builds[state_id] = Build(job_id)
        outcome: StepFailedError | bool = False
        try:
            yield build
            outcome = build.is_complete
        except StepFailedError as error:
            outcome = error
            raise
        finally:
            del self._builds[state_id]
            build.end(outcome)
