"""The key of each setting, and reading and writing its values."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pgstrata.config.model import Configuration
from pgstrata.domain.setting import Setting
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgstrata.config.values import Values
    from pgstrata.settings import Settings

Layer = Mapping[str, Any]
"""The values from one source, by key."""


class Key(NamedTuple):
    """A setting with its key."""

    name: str
    """``cache.capacity.maxBytes``"""
    fields: tuple[str, ...]
    """The path to it in ``Settings``, or in ``Configuration`` if it is a command's own."""
    kind: Any
    """The type of its field."""
    setting: Setting
    default: Any
    """The value if none is set; None if that is determined later."""
    is_map: bool
    """Whether it is a map: the keys of its entries are ``name``, a dot, and the entry's name."""

    @property
    def values(self) -> "Values":
        """The values it may have, and how they are read and written."""
        # Many commands have nothing to read.
        from pgstrata.config.values import values_of

        return values_of(self.kind, self.setting)

    @property
    def variable(self) -> str | None:
        """Its environment variable: ``PGSTRATA_SNAPSHOT_BACKEND``."""
        return None if self.is_map else "PGSTRATA_" + self.name.upper().replace(".", "_")

    def entry(self, name: str) -> str:
        """Return the part of a map entry's key after the map's own; empty if this is no map."""
        return name.removeprefix(self.name).removeprefix(".")


def _keys_in(structure: Any, outer: tuple[str, ...] = ()) -> Iterator[Key]:
    for field, hint in structure.__annotations__.items():
        fields = (*outer, field)
        if hasattr(hint, "_fields"):
            yield from _keys_in(hint, fields)
            continue
        kind, *marks = get_args(hint) or (hint,)
        for setting in (mark for mark in marks if isinstance(mark, Setting)):
            default = structure._field_defaults.get(field)
            name, is_map = ".".join(map(_camel, fields)), isinstance(default, Mapping)
            yield Key(name, fields, kind, setting, default, is_map)


def _camel(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(map(str.capitalize, others))


def _own_keys() -> Iterator[Key]:
    for key in _keys_in(Configuration):
        # An image is a name and a way of making its cluster; the name alone is ``image``.
        yield key._replace(name=f"image.{key.name}") if key.fields[0] == "initdb" else key


OWN: Mapping[str, Key] = {key.name: key for key in _own_keys()}
"""A command's own settings, by key."""


@cache
def engine_keys() -> Mapping[str, Key]:
    """Return the engine's settings by key."""
    # Most commands need none of them, and the structure is slow to import.
    from pgstrata.settings import Settings

    return {key.name: key for key in _keys_in(Settings)}


@cache
def kind_keys() -> Mapping[str, Key]:
    """Return the settings of kinds from other packages, by key.

    Finding the installed packages is slow, so try the other keys first.
    """
    return {
        key.name: key._replace(fields=("kinds", *key.fields))
        for section, structure in _kind_settings().items()
        for key in _keys_in(structure, (section,))
    }


@cache
def _kind_settings() -> Mapping[str, Any]:
    from pgstrata.kinds import plugins

    found, _broken = plugins.others()
    structures = ((plugin.section, plugin.settings()) for plugin in found.values())
    return {section: structure for section, structure in structures if structure is not None}


def every_key() -> Mapping[str, Key]:
    """Return all settings but those of kinds from other packages, by key."""
    return {**OWN, **engine_keys()}


def find(name: str) -> Key | None:
    """Find the setting of a key; for the entry of a map, the map's."""
    key = OWN.get(name) or engine_keys().get(name)
    if key is not None:
        return None if key.is_map else key
    maps = (key for key in engine_keys().values() if key.is_map)
    matching = (key for key in maps if name.startswith(f"{key.name}.") and key.entry(name))
    return next(matching, None) or kind_keys().get(name)


def read(origin: str, name: str, value: object, base: Path) -> Any:
    """Read a value given for a key, as the key's type; relative paths start from ``base``.

    ``origin`` is the file, variable or option it came from. Raises ``InvalidArgumentError``,
    which names the origin, the key, and what is accepted.
    """
    key = find(name)
    if key is None:
        raise unknown(origin, name)
    if reason := key.setting.reserved.get(key.entry(name).lower()):
        raise InvalidArgumentError(
            f"{origin}: {name} cannot be set: {reason}", remedy="leave it out"
        )
    if key.setting.entry and not re.fullmatch(key.setting.entry, key.entry(name)):
        raise InvalidArgumentError(
            f"{origin}: there can be no setting {name!a}",
            remedy="correct it: names are of letters, digits and underscores",
        )
    try:
        if not isinstance(value, str | int | float):
            raise ValueError  # noqa: TRY301, TRY004 - reported like any other wrong value
        return _resolve_paths(key.values.read(value), base)
    except ValueError as error:
        but = "" if key.setting.secret else f"; it is {_describe(value)}"
        raise InvalidArgumentError(
            f"{origin}: {name} must be {key.values.accepted}{but}",
            remedy="correct it, or omit it",
        ) from error


def write(name: str, value: Any) -> str:
    """Write a value of a key so that ``read`` reads it back."""
    key = find(name)
    assert key is not None
    return str(key.values.plain(value))


def plain(name: str, value: Any) -> Any:
    """Return a value of a key as JSON has it, so that ``read`` reads it back."""
    key = find(name)
    assert key is not None
    return value if value is None or isinstance(value, bool) else key.values.plain(value)


def values_in(settings: "Settings") -> Layer:
    """Return the values of all keys in an engine's settings, those of maps by their entries."""
    values: dict[str, Any] = {}
    for key in engine_keys().values():
        value: Any = reduce(getattr, key.fields, settings)
        values |= (
            {f"{key.name}.{entry}": one for entry, one in value.items()}
            if key.is_map
            else {key.name: value}
        )
    return values


def settings_of(values: Layer) -> "Settings":
    """Make an engine's settings: the values given for its keys, defaults for all others."""
    from pgstrata.settings import Settings

    keys = {name: find(name) for name in values}
    sections = {key.fields[1] for key in keys.values() if key and key.fields[0] == "kinds"}
    settings = Settings(kinds={section: _kind_settings()[section]() for section in sections})
    for name, value in values.items():
        key = keys[name]
        assert key is not None
        settings = _replace(settings, key.fields, key.entry(name), value)
    return settings


def _replace(structure: Any, fields: tuple[str, ...], entry: str, value: Any) -> Any:
    if fields and isinstance(structure, Mapping):
        return {**structure, fields[0]: _replace(structure[fields[0]], fields[1:], entry, value)}
    if fields:
        inner = _replace(getattr(structure, fields[0]), fields[1:], entry, value)
        return structure._replace(**{fields[0]: inner})
    return {**structure, entry: value} if entry else value


def _resolve_paths(value: Any, base: Path) -> Any:
    if isinstance(value, tuple):
        return tuple(_resolve_paths(path, base) for path in value)
    return Path(os.path.normpath(base / value)) if isinstance(value, Path) else value


def unknown(origin: str, name: str) -> InvalidArgumentError:
    """Make the error for a key that does not exist, with the nearest that does."""
    return InvalidArgumentError(f"{origin}: there is no setting {name}", remedy=_suggest(name))


def _suggest(name: str) -> str:
    inside = [known for known in {**every_key(), **kind_keys()} if known.startswith(f"{name}.")]
    if inside:
        return f"the settings in it are: {', '.join(inside)}"
    from difflib import get_close_matches

    similar = get_close_matches(name, every_key(), n=1)
    return f"did you mean {similar[0]}?" if similar else "check its spelling, or remove it"


def _describe(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "a list"
    return str(value).lower()
