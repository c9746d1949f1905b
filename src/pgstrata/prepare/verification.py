"""Checking every state, and finding orphaned rows and files."""

from collections.abc import AsyncIterator

from pgstrata.cache.settled import SettledCopies
from pgstrata.domain.cache import CheckOutcome, StateCheck
from pgstrata.prepare.state_files import StateFiles
from pgstrata.prepare.suspicion import Suspicion

NEWS_EVERY = 50
"""After how many sound states progress is reported."""

_LEFT: CheckOutcome = "would_remove"


class Verification:
    """Checks the cache and, on request, repairs it."""

    def __init__(self, files: StateFiles, suspicion: Suspicion, settled: SettledCopies) -> None:
        self._files = files
        self._suspicion = suspicion
        self._settled = settled

    async def verify(self, *, repair: bool, deep: bool = False) -> AsyncIterator[StateCheck]:
        """Yield the problems, state by state, and the progress in between and at the end.

        With ``repair``, unusable states are removed; they are rebuilt when they are needed.
        ``deep``: also read the content of all files, and compare it with what was read before.
        """
        state_ids = await self._files.known()
        total, first_read = len(state_ids), 0
        for checked, state_id in enumerate(state_ids, start=1):
            problem = await self._files.defect(state_id, deep=deep)
            read = None
            if problem is None and deep and not await self._files.is_learnt(state_id):
                # There is nothing to compare with: only a server can tell whether all is well.
                problem = read = await self._suspicion.examine(state_id)
            if problem is not None:
                outcome = _LEFT
                if repair:
                    outcome = await self._files.throw_out(
                        state_id, deep=deep, certain=read is not None
                    )
                yield StateCheck(
                    checked=checked,
                    total=total,
                    state_id=state_id,
                    problem=problem,
                    outcome=outcome,
                )
                continue
            if deep:
                first_read += await self._files.learn(state_id)
            if checked % NEWS_EVERY == 0 and checked != total:
                yield StateCheck(checked=checked, total=total)
        # Bases are not counted among the states, but a changed one changes all that follow.
        for name in await self._files.bases():
            problem = await self._files.base_defect(name, deep=deep)
            if problem is not None:
                outcome = _LEFT
                if repair:
                    outcome = await self._files.throw_out_base(name, deep=deep)
                yield StateCheck(
                    checked=total,
                    total=total,
                    state_id=name,
                    problem=f"it is a base, and {problem}",
                    outcome=outcome,
                )
            elif deep:
                await self._files.learn_base(name)
        for copy in self._settled.known:
            problem = await self._settled.defect(copy.state_id, deep=deep)
            if problem is not None:
                if repair:
                    await self._settled.remove(copy.state_id)
                yield StateCheck(
                    checked=total,
                    total=total,
                    state_id=copy.state_id,
                    problem=f"its settled copy: {problem}",
                    outcome="removed" if repair else _LEFT,
                )
            elif deep:
                await self._settled.learn(copy.state_id)
        yield StateCheck(checked=total, total=total, first_read=first_read)
