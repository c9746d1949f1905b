"""Checking every state, and finding orphaned rows and files."""

from collections.abc import AsyncIterator

from pgstrata.domain.cache import CheckOutcome, StateCheck
from pgstrata.prepare.snapshots import SnapshotOrchestrator

NEWS_EVERY = 50
"""After how many sound states progress is reported."""


class Verification:
    """Checks the cache and, on request, repairs it."""

    def __init__(self, snapshots: SnapshotOrchestrator) -> None:
        self._snapshots = snapshots

    async def verify(self, *, repair: bool) -> AsyncIterator[StateCheck]:
        """Yield the problems, state by state, and the progress in between and at the end.

        With ``repair``, unusable states are removed; they are rebuilt when they are needed.
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
