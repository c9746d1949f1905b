"""The Javas and Liquibases that are used, hashed once and watched from then on."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from pgstrata.errors import InputChangedError
from pgstrata.kinds.liquibase import forked, installation
from pgstrata.kinds.liquibase.installation import Installation
from pgstrata.kinds.sources.files import Stamp, stamp_at
from pgstrata.settings import LiquibaseSettings
from pgstrata.system import watching
from pgstrata.system.watching import Watch


class Known(NamedTuple):
    """An installation that was hashed."""

    installation: Installation
    number: int
    """How many were hashed before: what is equal now may have been another in between."""
    loaded: tuple[Path, ...]
    """Its jars, and the directories to which some may be added."""
    stamps: dict[Path, Stamp | None]
    watch: Watch
    """Since before it was hashed."""
    watchable: bool
    """Whether everything could be watched at first."""


class Installations:
    """Knows the installation for each tool: the built-in one (None), or a Liquibase of a user's."""

    def __init__(self, settings: LiquibaseSettings) -> None:
        self._settings = settings
        self._known: dict[Path | None, Known] = {}
        self._numbers = count()
        self._finding = asyncio.Lock()

    def close(self) -> None:
        """Stop watching."""
        for known in self._known.values():
            known.watch.close()

    async def find(self, tool: Path | None) -> Known:
        """The installation for a tool. Raises ``ToolMissingError``."""
        async with self._finding:
            known = self._known.get(tool)
            if known is not None:
                lost = known.watchable and not known.watch.complete
                if not lost and await _is_untouched(known):
                    return known
                known.watch.close()
            home, java = await self._directories(tool)
            known = self._known[tool] = await asyncio.to_thread(self._hash, home, java)
            return known

    @asynccontextmanager
    async def unchanged(self, known: Known) -> AsyncIterator[None]:
        """Rely on an installation until the end of the block.

        Raises ``InputChangedError`` at the end, in place of any other error, if anything of it was
        touched since it was hashed, even if that was undone.
        """
        try:
            yield
        except Exception:
            await _check_untouched(known)
            raise
        await _check_untouched(known)

    async def _directories(self, tool: Path | None) -> tuple[Path | None, Path]:
        home = self._settings.home
        if tool is not None:
            home = await asyncio.to_thread(forked.home_beside, tool)
            home = home or await forked.home_told(tool, os.environ)
        java = await asyncio.to_thread(installation.find_java, self._settings.java, os.environ)
        if await asyncio.to_thread(installation.java_home, java) is None:
            java = await installation.java_told(java, os.environ)
        return home, java

    def _hash(self, home: Path | None, java: Path) -> Known:
        # What is found may change while it is looked for: it is watched, and then looked for again.
        first = self._find(home, java)
        watch = watching.watch()
        try:
            # A directory counts, too: jars may be added to it.
            directories = tuple(path for path in self._settings.jars if path.is_dir())
            loaded = (*first.classpath, *directories)
            files = (*first.classpath, *first.java_files)
            for path in (*directories, *{path.parent for path in first.java_files}):
                watch.follow(path.absolute())
                watch.directory(path.absolute())
            for path in files:
                watch.follow(path.absolute(), content=True)
            stamps = {path: stamp_at(path) for path in (*directories, *files)}
            found = self._find(home, java)
        except BaseException:
            watch.close()
            raise
        return Known(found, next(self._numbers), loaded, stamps, watch, watch.complete)

    def _find(self, home: Path | None, java: Path) -> Installation:
        return installation.find(
            home=home, extensions=self._settings.jars, java=java, env=os.environ
        )


async def _is_untouched(known: Known) -> bool:
    if known.watch.disturbed() is not None:
        return False
    return known.watch.complete or await asyncio.to_thread(_as_stamped, known.stamps)


async def _check_untouched(known: Known) -> None:
    if not await _is_untouched(known):
        touched = known.watch.disturbed()
        raise InputChangedError(
            "Liquibase, its jars or Java changed while a changelog was read or run",
            remedy="prepare again",
            details=None if touched is None else f"{touched} was touched",
        )


def _as_stamped(stamps: dict[Path, Stamp | None]) -> bool:
    return all(stamp_at(path) == stamp for path, stamp in stamps.items())
