"""The key of each setting, and reading what was said for it somewhere."""

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pgstrata.config.model import Configuration
from pgstrata.domain.setting import Setting
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgstrata.config.values import Values
    from pgstrata.settings import Settings

Layer = Mapping[str, Any]
"""What one source says: values by their keys."""


class Key(NamedTuple):
    """A setting with its key."""

    name: str
    """``cache.capacity.maxBytes``"""
    fields: tuple[str, ...]
    """Where it is in ``Settings``, or in ``Configuration`` if it is a command's own."""
    kind: Any
    """The type of its field."""
    setting: Setting
    default: Any
    """What it is when nobody says; None where that is found out later."""
    is_map: bool
    """Whether values go by names: its keys are ``name`` with a dot and one of those."""

    @property
    def values(self) -> "Values":
        """What it may be, and how that is read and written."""
        # Many commands find nothing to read.
        from pgstrata.config.values import values_of

        return values_of(self.kind, self.setting)

    @property
    def variable(self) -> str | None:
        """The environment's variable for it: ``PGSTRATA_SNAPSHOT_BACKEND``."""
        return None if self.is_map else "PGSTRATA_" + self.name.upper().replace(".", "_")

    def entry(self, name: str) -> str:
        """What a map's key has after the map's own name; nothing where this is no map."""
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


OWN: Mapping[str, Key] = {key.name: key for key in _keys_in(Configuration)}
"""The settings that are a command's own, by their keys."""


@cache
def engine_keys() -> Mapping[str, Key]:
    """The engine's settings, by their keys."""
    # Most commands need none of them, and the structure takes its time to import.
    from pgstrata.settings import Settings

    return {key.name: key for key in _keys_in(Settings)}


@cache
def kind_keys() -> Mapping[str, Key]:
    """The settings of kinds from other packages, by their keys.

    It takes long to find out which packages there are: for what is no other key.
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
    """All settings of ours, by their keys."""
    return {**OWN, **engine_keys()}


def find(name: str) -> Key | None:
    """The setting that a key is of: a map's, for one of its entries."""
    key = OWN.get(name) or engine_keys().get(name)
    if key is not None:
        return None if key.is_map else key
    maps = (key for key in engine_keys().values() if key.is_map)
    of_map = (key for key in maps if name.startswith(f"{key.name}.") and key.entry(name))
    return next(of_map, None) or kind_keys().get(name)


def read(origin: str, name: str, value: object, base: Path) -> Any:
    """The value that was given for a key, as its type; relative paths start from ``base``.

    ``origin`` is the file, variable or option that it is from. Raises ``InvalidArgumentError``
    which names that, the key, and what is accepted.
    """
    key = find(name)
    if key is None:
        raise InvalidArgumentError(
            f"{origin}: there is no setting {name}", remedy=_instead_of(name)
        )
    if reason := key.setting.reserved.get(key.entry(name).lower()):
        raise InvalidArgumentError(
            f"{origin}: {name} cannot be set: {reason}", remedy="leave it out"
        )
    try:
        if not isinstance(value, str | int | float):
            raise ValueError  # noqa: TRY301, TRY004 - said like every other value that is wrong
        return _anchored(key.values.read(value), base)
    except ValueError as error:
        but = "" if key.setting.secret else f"; it is {_shown(value)}"
        raise InvalidArgumentError(
            f"{origin}: {name} must be {key.values.accepted}{but}",
            remedy="correct it, or omit it",
        ) from error


def write(name: str, value: Any) -> str:
    """What ``read`` reads as this value of a key."""
    key = find(name)
    assert key is not None
    return str(key.values.plain(value))


def settings_of(said: Layer) -> "Settings":
    """An engine's settings: what was said for keys of the engine's, defaults for all others."""
    from pgstrata.settings import Settings

    keys = {name: find(name) for name in said}
    sections = {key.fields[1] for key in keys.values() if key and key.fields[0] == "kinds"}
    settings = Settings(kinds={section: _kind_settings()[section]() for section in sections})
    for name, value in said.items():
        key = keys[name]
        assert key is not None
        settings = _with(settings, key.fields, key.entry(name), value)
    return settings


def _with(structure: Any, fields: tuple[str, ...], entry: str, value: Any) -> Any:
    if fields and isinstance(structure, Mapping):
        return {**structure, fields[0]: _with(structure[fields[0]], fields[1:], entry, value)}
    if fields:
        inner = _with(getattr(structure, fields[0]), fields[1:], entry, value)
        return structure._replace(**{fields[0]: inner})
    return {**structure, entry: value} if entry else value


def _anchored(value: Any, base: Path) -> Any:
    if isinstance(value, tuple):
        return tuple(_anchored(path, base) for path in value)
    return Path(os.path.normpath(base / value)) if isinstance(value, Path) else value


def _instead_of(name: str) -> str:
    inside = [known for known in {**every_key(), **kind_keys()} if known.startswith(f"{name}.")]
    if inside:
        return f"the settings there are: {', '.join(inside)}"
    from difflib import get_close_matches

    alike = get_close_matches(name, every_key(), n=1)
    return f"did you mean {alike[0]}?" if alike else "check its spelling, or remove it"


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "a list"
    return str(value).lower()
