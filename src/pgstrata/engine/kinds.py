"""The installed kinds, open while the engine runs."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from pgstrata.engine.programs import WithoutPrograms
from pgstrata.httpapi.requests import JobRequests
from pgstrata.kinds import plugins
from pgstrata.kinds.base import Kind, RecipeSide, RunnerSide
from pgstrata.kinds.plugin import KeepingPlugin, KindPlugin
from pgstrata.runtime.base import Companions
from pgstrata.settings import Settings

_log = logging.getLogger(__name__)


class OpenKinds(NamedTuple):
    """Both sides of each kind, and the reader of their requests."""

    recipes: Mapping[str, RecipeSide]
    runners: Mapping[str, RunnerSide]
    requests: JobRequests


@asynccontextmanager
async def open_kinds(settings: Settings, companions: Companions) -> AsyncIterator[OpenKinds]:
    """Open all kinds. If another package's kind fails, it is left out and the log says why."""
    found, broken = plugins.every()
    for one in broken:
        _log.error("the kind %s of %s cannot be used: %s", one.name, one.package, one.reason)
    kinds: dict[str, Kind] = {}
    requests = JobRequests()
    async with AsyncExitStack() as opened:
        for name, plugin in found.items():
            try:
                own = _settings_of(plugin, settings)
                kind = await opened.enter_async_context(
                    plugin.open_with(own, companions)
                    if isinstance(plugin, KeepingPlugin)
                    else plugin.open(own)
                )
                requests.add(name, plugin.request_fields())
            except Exception:
                if name in plugins.BUILT_IN:
                    raise
                _log.exception("the kind %s cannot be used", name)
            else:
                kinds[name] = kind
        yield OpenKinds(
            recipes={
                name: WithoutPrograms(kind.recipe)
                if settings.engine.allow_programs is False
                else kind.recipe
                for name, kind in kinds.items()
            },
            runners={name: kind.runner for name, kind in kinds.items()},
            requests=requests,
        )


def _settings_of(plugin: KindPlugin, settings: Settings) -> Any:
    """Return a kind's settings; those of our own kinds are a part of the engine's."""
    if plugin.name in plugins.BUILT_IN:
        return getattr(settings, plugin.section, None)
    structure = plugin.settings()
    return structure and settings.kinds.get(plugin.section, structure())
