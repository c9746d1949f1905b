"""All kinds: the built-in ones, and those of other installed packages."""

import re
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import KindPlugin

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "pgstrata.kinds"
"""The entry points of kinds."""

BUILT_IN = {
    "psql": "pgstrata.kinds.psql.plugin:PLUGIN",
    "lb": "pgstrata.kinds.liquibase.plugin:PLUGIN",
    "exec": "pgstrata.kinds.exec.plugin:PLUGIN",
}
"""Our own entry points again: reading those of all packages takes longer than a cached prepare."""

_NAME = re.compile(r"[a-z][a-z0-9_-]*")


class Broken(NamedTuple):
    """A kind that is registered but cannot be used."""

    name: str
    package: str
    reason: str


def find(name: str) -> KindPlugin | None:
    """The kind with this name. Other packages are searched only if it is not built in.

    Raises ``InvalidArgumentError`` if it is registered but cannot be used.
    """
    if name in BUILT_IN:
        return _built_in(name)
    plugins, broken = others()
    for one in broken:
        if one.name == name:
            raise InvalidArgumentError(
                f"the kind {name} of {one.package} cannot be used: {one.reason}",
                remedy=f"update {one.package}, or uninstall it",
            )
    return plugins.get(name)


def every() -> tuple[dict[str, KindPlugin], tuple[Broken, ...]]:
    """All usable kinds by name, the built-in ones first, and the broken ones."""
    plugins, broken = others()
    return {**{name: _built_in(name) for name in BUILT_IN}, **plugins}, broken


def others() -> tuple[dict[str, KindPlugin], tuple[Broken, ...]]:
    """The same without the built-in ones."""
    if not _any_registered():
        return {}, ()
    from importlib.metadata import entry_points

    plugins: dict[str, KindPlugin] = {}
    broken: list[Broken] = []
    for entry in sorted(entry_points(group=GROUP), key=_order):
        if BUILT_IN.get(entry.name) == entry.value:
            continue
        if entry.name in BUILT_IN or entry.name in plugins:
            broken.append(_broken(entry, "another package has a kind of this name"))
            continue
        try:
            plugins[entry.name] = _checked(entry.name, entry.load())
        except Exception as error:  # noqa: BLE001 - others' code must not break ours
            broken.append(_broken(entry, f"{type(error).__name__}: {error}"))
    return plugins, tuple(broken)


def _any_registered() -> bool:
    """Whether a package beside ours may register kinds.

    Importing what reads entry points takes longer than all else that the command line's help needs,
    and few have such a package.
    """
    for place in map(Path, sys.path):
        if place.is_file():
            return True  # an archive, which is not worth looking into here
        for pattern in ("*.dist-info", "*.egg-info"):
            for package in place.glob(pattern):
                with suppress(OSError):
                    registered = (package / "entry_points.txt").read_bytes()
                    if GROUP.encode() in registered and not package.name.startswith("pgstrata-"):
                        return True
    return False


def _built_in(name: str) -> KindPlugin:
    module, _, attribute = BUILT_IN[name].partition(":")
    plugin: KindPlugin = getattr(import_module(module), attribute)
    return plugin


def _checked(name: str, plugin: Any) -> KindPlugin:
    if not _NAME.fullmatch(name) or plugin.name != name:
        raise ValueError(
            f"its entry point is {name!r} and its name {plugin.name!r}: they must be the same, of "
            "lower-case letters, digits, _ and -"
        )
    checked: KindPlugin = plugin
    return checked


def _order(entry: "EntryPoint") -> tuple[str, str]:
    return entry.name, _package(entry)


def _broken(entry: "EntryPoint", reason: str) -> Broken:
    return Broken(entry.name, _package(entry), " ".join(reason.split()))


def _package(entry: "EntryPoint") -> str:
    return entry.dist.name if entry.dist is not None else entry.value
