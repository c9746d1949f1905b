"""Checking every state, and finding orphaned rows and files."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NamedTuple

from pgstrata.cache.in_use import InUse
from pgstrata.cache.settled import SettledCopies
from pgstrata.domain.cache import CheckOutcome, StateCheck
from pgstrata.errors import PgstrataError, StoreUnusableError
from pgstrata.prepare.state_files import StateFiles
from pgstrata.prepare.suspicion import Suspicion

NEWS_EVERY = 50
"""After how many sound states progress is reported."""


class _Found(NamedTuple):
    """What there is to say of one state, base or copy."""

    problem: str | None = None
    examined: bool = True
    """Whether it could be checked to the end; if not, why is the problem."""
    read_by_server: bool = False
    """Whether it was a server that met the problem."""
    first_read: bool = False
    """Whether its contents were read to be compared with later."""


class Verification:
    """Checks the cache and, on request, repairs it."""

    def __init__(
        self, files: StateFiles, suspicion: Suspicion, settled: SettledCopies, in_use: InUse
    ) -> None:
        self._files = files
        self._suspicion = suspicion
        self._settled = settled
        self._in_use = in_use

    async def verify(self, *, repair: bool, deep: bool = False) -> AsyncIterator[StateCheck]:
        """Yield the problems, state by state, and the progress in between and at the end.

        With ``repair``, unusable states are removed; they are rebuilt when they are needed.
        ``deep``: also read the content of all files, and compare it with what was read before. What
        cannot be examined, as on a full disk, is left, and told of without an outcome.
        """
        state_ids = await self._files.known()
        total, first_read = len(state_ids), 0
        for checked, state_id in enumerate(state_ids, start=1):
            found = await self._look_at_state(state_id, deep=deep)
            first_read += found.first_read
            if found.problem is not None:
                throw_out = partial(
                    self._files.throw_out, state_id, deep=deep, certain=found.read_by_server
                )
                yield StateCheck(
                    checked=checked,
                    total=total,
                    state_id=state_id,
                    problem=found.problem,
                    outcome=await _outcome(found, throw_out, repair=repair),
                )
            elif checked % NEWS_EVERY == 0 and checked != total:
                yield StateCheck(checked=checked, total=total)
        # Bases are not counted among the states, but a changed one changes all that follow.
        for name in await self._files.bases():
            found = await _if_possible(self._look_at_base(name, deep=deep))
            if found.problem is not None:
                throw_out_base = partial(self._files.throw_out_base, name, deep=deep)
                yield StateCheck(
                    checked=total,
                    total=total,
                    state_id=name,
                    problem=f"it is a base, and {found.problem}",
                    outcome=await _outcome(found, throw_out_base, repair=repair),
                )
        for copy in self._settled.known:
            found = await _if_possible(self._look_at_copy(copy.state_id, deep=deep))
            if found.problem is not None:
                remove = partial(self._remove_copy, copy.state_id)
                yield StateCheck(
                    checked=total,
                    total=total,
                    state_id=copy.state_id,
                    problem=f"its settled copy: {found.problem}",
                    outcome=await _outcome(found, remove, repair=repair),
                )
        yield StateCheck(checked=total, total=total, first_read=first_read)

    async def _look_at_state(self, state_id: str, *, deep: bool) -> _Found:
        """Check a state, which is not evicted meanwhile. One that is removed has no problem."""
        await self._in_use.wait_removed(state_id)
        lease_id = self._in_use.acquire((state_id,))
        try:
            found = await _if_possible(self._check_state(state_id, deep=deep))
            if found.problem is not None and (
                await self._files.is_gone(state_id) or self._in_use.is_leaving(state_id)
            ):
                return _Found()
            return found
        finally:
            # Before it is thrown out, which what is in use is not.
            self._in_use.release(lease_id)

    async def _check_state(self, state_id: str, *, deep: bool) -> _Found:
        problem = await self._files.defect(state_id, deep=deep)
        if problem is not None or not deep:
            return _Found(problem)
        if not await self._files.is_learnt(state_id):
            # There is nothing to compare with: only a server can tell whether all is well.
            problem = await self._suspicion.examine(state_id)
            if problem is not None:
                return _Found(problem, read_by_server=True)
        return _Found(first_read=await self._files.learn(state_id))

    async def _look_at_base(self, name: str, *, deep: bool) -> _Found:
        problem = await self._files.base_defect(name, deep=deep)
        if problem is None and deep:
            await self._files.learn_base(name)
        return _Found(problem)

    async def _look_at_copy(self, state_id: str, *, deep: bool) -> _Found:
        problem = await self._settled.defect(state_id, deep=deep)
        if problem is None and deep:
            await self._settled.learn(state_id)
        return _Found(problem)

    async def _remove_copy(self, state_id: str) -> CheckOutcome:
        await self._settled.remove(state_id)
        return "removed"


async def _outcome(
    found: _Found, remove: Callable[[], Awaitable[CheckOutcome]], *, repair: bool
) -> CheckOutcome | None:
    """What is done about a problem, or would be; None if it was not examined to the end."""
    if not found.examined:
        return None
    return await remove() if repair else "would_remove"


async def _if_possible(look: Awaitable[_Found]) -> _Found:
    """What is found, or why that cannot be told of this one, which must not end the check of all.

    Raises ``StoreUnusableError`` if nothing can be told of any.
    """
    try:
        return await look
    except StoreUnusableError:
        raise
    except (OSError, PgstrataError) as error:
        return _Found(f"it cannot be examined: {error}", examined=False)
