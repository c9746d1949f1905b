"""Checking every state, and finding orphaned rows and files."""

from collections.abc import AsyncIterator

from pgstrata.domain.cache import CheckOutcome, StateCheck
from pgstrata.prepare.snapshots import SnapshotOrchestrator

NEWS_EVERY = 50
"""After how many states without a defect the progress is told."""


class Verification:
    """Checks the cache and, on request, repairs it."""

    def __init__(self, snapshots: SnapshotOrchestrator) -> None:
        self._snapshots = snapshots

    async def verify(self, *, repair: bool) -> AsyncIterator[StateCheck]:
        """What is wrong, state by state, with the progress in between; the last is at the end.

        With ``repair`` states that cannot be used are thrown out; who needs them builds them again.
        """
        state_ids = await self._snapshots.known()
        total = len(state_ids)
        for checked, state_id in enumerate(state_ids, start=1):
            problem = await self._snapshots.defect(state_id)
            if problem is not None:
                outcome: CheckOutcome = "would_remove"
                if repair:
                    outcome = await self._snapshots.throw_out(state_id)
                yield StateCheck(
                    checked=checked,
                    total=total,
                    state_id=state_id,
                    problem=problem,
                    outcome=outcome,
                )
            elif checked % NEWS_EVERY == 0 and checked != total:
                yield StateCheck(checked=checked, total=total)
        yield StateCheck(checked=total, total=total)
