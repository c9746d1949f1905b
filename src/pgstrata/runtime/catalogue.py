"""The installations of this machine as images, remembered until their files change."""

import asyncio
import math
import time
from collections.abc import Iterable
from pathlib import Path

from pgstrata.domain.image import Installation, ResolvedImage
from pgstrata.domain.model import Model
from pgstrata.errors import InvalidArgumentError, ProgramError, ServerError
from pgstrata.runtime.digest import Stamp, digest, stamp
from pgstrata.runtime.images import candidates, image_id, not_installed, parse
from pgstrata.runtime.installations import Finder
from pgstrata.runtime.layout import FileStamp, Layout, file_stamp, layout_of

_FRESH_SECONDS = 1.0
"""For how long a check of an installation's files counts: it takes milliseconds, and a job should
not repeat what was just done for another one."""


class _Hashed(Model, frozen=True, kw_only=True):
    """An installation whose files have been hashed."""

    installation: Installation
    layout: Layout
    image_id: str
    stamp: Stamp
    server_stamp: FileStamp
    looked_at: float


class Catalogue:
    """Knows which image stands for which installation."""

    def __init__(self, finder: Finder, *, fresh_seconds: float = _FRESH_SECONDS) -> None:
        self._finder = finder
        self._fresh_seconds = fresh_seconds
        self._hashed: dict[Path, _Hashed] = {}
        self._found: dict[str, tuple[float, _Hashed]] = {}

    async def installations(self) -> tuple[Installation, ...]:
        """Every installation, usable or not, newest first."""
        return await self._finder.find()

    async def resolve(self, wanted: str) -> ResolvedImage:
        """The image meant. Raises ``InvalidArgumentError``, listing the installations."""
        looked_at, found = self._found.get(wanted, (-math.inf, None))
        if found is None or time.monotonic() - looked_at >= self._fresh_seconds:
            looked_at = time.monotonic()
            found = await self._find(wanted)
            self._found[wanted] = (looked_at, found)
        return ResolvedImage(image_id=found.image_id, version=found.installation.version)

    async def installation(self, resolved_id: str) -> Installation:
        """The installation that a resolved image stands for.

        Raises ``ServerError`` if it is not installed any more.
        """
        for known in self._hashed.values():
            if known.image_id == resolved_id and _server_unchanged(known):
                return known.installation
        try:
            return (await self._find(resolved_id)).installation
        except InvalidArgumentError as error:
            raise ServerError(error.message, remedy=error.remedy) from error

    async def _find(self, wanted: str) -> _Hashed:
        ref = parse(wanted)
        installations = await self._finder.find()
        possible = candidates(ref, installations)
        if ref.digest is None:
            return await self._hash(possible[0])
        found = await self._with_digest(image_id(ref.digest), possible)
        if found is None:
            raise not_installed(ref, installations)
        return found

    async def _with_digest(self, wanted: str, possible: Iterable[Installation]) -> _Hashed | None:
        for installation in possible:
            if (found := await self._hash(installation)).image_id == wanted:
                return found
        return None

    async def _hash(self, installation: Installation) -> _Hashed:
        known = self._hashed.get(installation.bin_dir)
        if (
            known is not None
            and known.installation == installation
            and time.monotonic() - known.looked_at < self._fresh_seconds
        ):
            return known
        try:
            layout = await layout_of(installation.bin_dir) if known is None else known.layout
            hashed = await asyncio.to_thread(_look, installation, layout, known)
        except (OSError, ProgramError) as error:
            raise ServerError(
                f"PostgreSQL {installation.version} in {installation.bin_dir} is incomplete: "
                f"{error}",
                remedy="install it again",
            ) from error
        self._hashed[installation.bin_dir] = hashed
        return hashed


def _look(installation: Installation, layout: Layout, known: _Hashed | None) -> _Hashed:
    looked_at = time.monotonic()
    seen = stamp(layout)
    if known is not None and known.installation == installation and known.stamp == seen:
        name = known.image_id
    else:
        name = image_id(digest(installation.version, layout))
    return _Hashed(
        installation=installation,
        layout=layout,
        image_id=name,
        stamp=seen,
        server_stamp=file_stamp((installation.bin_dir / "postgres").stat()),
        looked_at=looked_at,
    )


def _server_unchanged(known: _Hashed) -> bool:
    """Whether at least the server binary is still the one that was hashed."""
    try:
        server = (known.installation.bin_dir / "postgres").stat()
    except FileNotFoundError:
        return False
    return file_stamp(server) == known.server_stamp
