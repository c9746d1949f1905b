"""Suspicion: a server complains, and the state that its data was cloned from may be damaged.

A lost file or a bad page is seen only by who reads it. So a state is suspected when no server
starts on a fresh clone, or when one misses a file or meets a bad page there. Then its files are
compared with what is known of them, and everything on another clone is read. If that shows damage,
the state goes, and can be built again.
"""

import logging
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pgstrata.dbms.base import Dbms
from pgstrata.domain.identity import base_id
from pgstrata.domain.plan import TaskInput
from pgstrata.errors import (
    ConflictError,
    PgstrataError,
    ServerError,
    StateDamagedError,
)
from pgstrata.prepare.snapshots import SnapshotOrchestrator
from pgstrata.prepare.state_files import StateFiles
from pgstrata.runtime.base import Runtime
from pgstrata.system.cancellation import finish

_log = logging.getLogger(__name__)

# PostgreSQL's own words: src/backend/storage, src/backend/access. A script may use them as well,
# which costs a check.
_COMPLAINT = re.compile(
    r"could not (?:open|read|access|stat|seek|locate) .*(?:base/|global/|pg_|block|checkpoint)"
    r"|invalid page|unexpected zero page|page verification failed|invalid checkpoint record"
    r"|missing chunk number|unexpected chunk (?:number|size)|could not access status of transaction"
    r"|could not open relation with OID|cache lookup failed for|incorrect checksum in control file"
    r"|database subdirectory .* is missing|PANIC: |ERROR: +(?:XX00[012]|58P01)\b"
)

_REMEDY = (
    "prepare again, which builds it again; and check the disk, and all states: "
    "pgstrata cache verify --deep"
)


def complains(error: PgstrataError) -> bool:
    """Whether a server or a tool says that there is something wrong with files."""
    return bool(_COMPLAINT.search(f"{error.message}\n{error.details or ''}"))


def _is_suspicious(error: PgstrataError) -> bool:
    """Whether an error may be due to files: any server's that did not start, or a complaint."""
    return isinstance(error, ServerError) or complains(error)


class Suspicion:
    """Finds out whether states are damaged, and removes those that are."""

    def __init__(
        self, *, files: StateFiles, snapshots: SnapshotOrchestrator, runtime: Runtime, dbms: Dbms
    ) -> None:
        self._files = files
        self._snapshots = snapshots
        self._runtime = runtime
        self._dbms = dbms

    async def of_state(
        self, state_id: str, error: PgstrataError, settings: Mapping[str, str]
    ) -> None:
        """Raise ``StateDamagedError`` if an error on a clone of a state is due to its files.

        The state is gone then. If nothing could build it again, it stays, and this raises
        ``ConflictError``. ``settings``: of the servers on the clone.
        """
        if not _is_suspicious(error):
            return
        suspect = await self._files.suspect(state_id)
        found = "it is gone" if suspect is None else await self._damage(state_id, settings)
        if found is None:
            return
        if suspect is not None and not await self._files.remove_damaged(suspect):
            raise ConflictError(
                f"state {state_id} cannot be used, since it is damaged: {found}",
                remedy="nothing can build it again: remove it (pgstrata rm), and check the disk",
            ) from error
        raise StateDamagedError(f"state {state_id} was damaged: {found}", remedy=_REMEDY) from error

    async def of_base(self, image_id: str, initdb: Mapping[str, str], error: PgstrataError) -> None:
        """The same for the base of an image."""
        if not _is_suspicious(error):
            return
        name = base_id(image_id, initdb).rpartition(":")[2]
        if found := await self._files.base_defect(name, deep=True):
            await self._files.throw_out_base(name, deep=True)
            raise StateDamagedError(
                f"the base of {image_id} was damaged: {found}", remedy=_REMEDY
            ) from error

    async def examine(
        self, state_id: str, settings: Mapping[str, str] = MappingProxyType({})
    ) -> str | None:
        """What is found when all of a state is read, by a server on a clone; None if all is well.

        None, too, if that cannot be told, as when there is no memory for a server.
        """
        state = await self._files.suspect(state_id)
        if state is None:
            return None
        workspace = await self._snapshots.workspace(
            uuid.uuid4().hex, TaskInput(kind="state", id=state_id), _never, server_settings=settings
        )
        try:
            server = await self._runtime.start(
                state.image_id, workspace.data_dir, building=True, settings=settings
            )
            try:
                return await self._dbms.damage(server)
            finally:
                await finish(self._runtime.stop(server, clean=False))
        except ServerError as error:
            return f"no server starts on it: {error.message}" if complains(error) else None
        finally:
            await finish(self._snapshots.discard(workspace))

    async def _damage(self, state_id: str, settings: Mapping[str, str]) -> str | None:
        """What is wrong with a state; None, too, if that cannot be told just now."""
        try:
            return await self._files.defect(state_id, deep=True) or await self.examine(
                state_id, settings
            )
        except OSError as error:
            # As on a full disk. What raised the suspicion is what is to be told.
            _log.warning("state %s may be damaged, and cannot be examined: %s", state_id, error)
            return None


async def _never(data_dir: Path) -> None:
    raise AssertionError(f"{data_dir} is a state's")
