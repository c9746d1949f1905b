"""The installations of this machine as images, remembered until their files change."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from pgstrata.domain.image import Installation, ResolvedImage
from pgstrata.errors import InputChangedError, InvalidArgumentError, ProgramError, ServerError
from pgstrata.runtime.digest import Stamp, digest_of, parts, stamp, watch
from pgstrata.runtime.images import candidates, image_id, not_installed, parse
from pgstrata.runtime.installations import Finder
from pgstrata.runtime.layout import Layout, layout_of
from pgstrata.runtime.surroundings import with_surroundings
from pgstrata.system.watching import Watch

_FRESH_SECONDS = 1.0
"""For how long it counts which installations there are, and a look at the files of one that cannot
be watched: each takes milliseconds, and a job should not repeat what was just done for another."""

_ATTEMPTS = 5


class _Hashed(NamedTuple):
    """An installation whose files have been hashed."""

    installation: Installation
    layout: Layout
    image_id: str
    parts: Mapping[str, str]
    stamp: Stamp
    watch: Watch
    """Since before they were hashed."""
    watchable: bool
    """Whether everything could be watched at first."""


class Catalogue:
    """Knows which image stands for which installation."""

    def __init__(self, finder: Finder, *, fresh_seconds: float = _FRESH_SECONDS) -> None:
        self._finder = finder
        self._fresh_seconds = fresh_seconds
        self._hashed: dict[Path, _Hashed] = {}
        self._looked_at: dict[Path, float] = {}
        self._found: dict[str, tuple[float, _Hashed]] = {}
        self._hashing = asyncio.Lock()

    def close(self) -> None:
        """Stop watching."""
        for known in self._hashed.values():
            known.watch.close()

    async def installations(self) -> tuple[Installation, ...]:
        """Every installation, usable or not, newest first."""
        return await self._finder.find()

    async def resolve(self, wanted: str) -> ResolvedImage:
        """The image meant. Raises ``InvalidArgumentError``, listing the installations."""
        looked_at, found = self._found.get(wanted, (-math.inf, None))
        fresh = time.monotonic() - looked_at < self._fresh_seconds
        if found is None or not fresh or not await self._holds(found):
            looked_at = time.monotonic()
            found = await self._find(wanted)
            self._found[wanted] = (looked_at, found)
        return ResolvedImage(
            image_id=found.image_id, version=found.installation.version, parts=dict(found.parts)
        )

    async def installation(self, resolved_id: str) -> Installation:
        """The installation that a resolved image stands for.

        Raises ``ServerError`` if it is not installed any more.
        """
        return (await self._known(resolved_id)).installation

    @asynccontextmanager
    async def unchanged(self, resolved_id: str) -> AsyncIterator[Installation]:
        """The installation that a resolved image stands for, which may not change in the block.

        Raises ``ServerError`` like ``installation``, and ``InputChangedError`` at the end, in place
        of any other error, if a file of it was touched, even if that was undone.
        """
        known = await self._known(resolved_id)
        try:
            yield known.installation
        except Exception:
            await self._check_untouched(known)
            raise
        await self._check_untouched(known)

    async def _known(self, resolved_id: str) -> _Hashed:
        for known in tuple(self._hashed.values()):
            if known.image_id == resolved_id and await self._holds(known):
                return known
        try:
            return await self._find(resolved_id)
        except InvalidArgumentError as error:
            raise ServerError(error.message, remedy=error.remedy) from error

    async def _check_untouched(self, known: _Hashed) -> None:
        touched = known.watch.disturbed()
        if touched is None and (
            known.watch.complete or await asyncio.to_thread(_stamp_now, known.layout) == known.stamp
        ):
            return
        one = known.installation
        raise InputChangedError(
            f"PostgreSQL {one.version} in {one.bin_dir} changed while it was used",
            remedy="prepare again",
            details=None if touched is None else f"{touched} was touched",
        )

    async def _holds(self, known: _Hashed) -> bool:
        """Whether nothing was touched since the files were hashed, as far as is known."""
        if known.watch.disturbed() is not None:
            return False
        if known.watch.complete or known.watchable:
            return known.watch.complete  # what was lost is hashed and watched anew
        bin_dir = known.installation.bin_dir
        looked_at = self._looked_at.get(bin_dir, -math.inf)
        if time.monotonic() - looked_at < self._fresh_seconds:
            return True
        self._looked_at[bin_dir] = time.monotonic()
        return await asyncio.to_thread(_stamp_now, known.layout) == known.stamp

    def layout(self, installation: Installation) -> Layout:
        """Where the parts of an installation are that an image was found to stand for."""
        return self._hashed[installation.bin_dir].layout

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
        async with self._hashing:
            return await self._hash_alone(installation)

    async def _hash_alone(self, installation: Installation) -> _Hashed:
        known = self._hashed.get(installation.bin_dir)
        if known is not None:
            if known.installation == installation and await self._holds(known):
                return known
            known.watch.close()
        try:
            hashed = await self._hash_anew(installation)
        except (OSError, ProgramError) as error:
            raise ServerError(
                f"PostgreSQL {installation.version} in {installation.bin_dir} is incomplete: "
                f"{error}",
                remedy="install it again",
            ) from error
        self._hashed[installation.bin_dir] = hashed
        self._looked_at[installation.bin_dir] = time.monotonic()
        return hashed

    async def _hash_anew(self, installation: Installation) -> _Hashed:
        for _ in range(_ATTEMPTS):
            layout = await with_surroundings(await layout_of(installation.bin_dir))
            hashed = await asyncio.to_thread(_look, installation, layout)
            if hashed.watch.disturbed() is None:
                return hashed
            hashed.watch.close()
        raise ServerError(
            f"PostgreSQL {installation.version} in {installation.bin_dir} does not stop changing",
            remedy="prepare again once it is installed",
        )


def _look(installation: Installation, layout: Layout) -> _Hashed:
    begun = watch(layout)
    try:
        before = stamp(layout)
        content = parts(installation.version, layout)
        return _Hashed(
            installation=installation,
            layout=layout,
            image_id=image_id(digest_of(content)),
            parts=content,
            stamp=before,
            watch=begun,
            watchable=begun.complete,
        )
    except BaseException:
        begun.close()
        raise


def _stamp_now(layout: Layout) -> Stamp | None:
    """Its stamp; None if something of it is gone."""
    try:
        return stamp(layout)
    except OSError:
        return None
