"""An engine's configuration: what it was started with, and what ``config set`` stored since.

The first of these that has a setting counts: an option of ``engine serve``; the file in the store;
what the command that started the engine found in its own files and variables; the default. A
setting that cannot change while servers run takes effect when the engine is started again.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pgstrata.api.configuration import ConfigValue
from pgstrata.cache import capacity
from pgstrata.config.keys import (
    OWN,
    Key,
    Layer,
    find,
    plain,
    read,
    settings_of,
    unknown,
    values_in,
)
from pgstrata.config.schema import json_schema
from pgstrata.engine.exposure import certificate
from pgstrata.engine.private_file import write_private
from pgstrata.errors import (
    ConflictError,
    DiskFullError,
    InvalidArgumentError,
    ProgramsNotAllowedError,
)
from pgstrata.settings import Settings
from pgstrata.system.reserve import Reserve

_log = logging.getLogger(__name__)

FILE = "config.json"
_DEEPEST = 20  # more than any path has
_PAIR = ("engine.tlsCert", "engine.tlsKey")
_SECRET = "(secret)"  # noqa: S105 - shown in place of one


class EngineConfiguration:
    """Reads and changes an engine's settings while it runs."""

    def __init__(self, store: Path, *, options: Layer, defaults: Layer) -> None:
        """``options`` and ``defaults`` come before and after what is stored.

        Raises ``InvalidArgumentError``, with the file's name, for what is stored.
        """
        self._file = store / FILE
        self._options = options
        self._defaults = defaults
        self._stored = _stored_in(self._file)
        self._started = _without_half_a_pair(self._wanted(self._stored), self._stored)
        self._decided: Layer = {}
        self._apply: Callable[[Settings], None] = lambda _settings: None
        capacity.check(self.settings.cache.capacity)

    @property
    def settings(self) -> Settings:
        """The settings in effect."""
        return settings_of(self._effective(self._stored))

    def decide(self, name: str, value: Any) -> None:
        """Give a setting that nobody gave the value that follows from where the engine runs."""
        if self._started.get(name) is None:
            self._decided = {**self._decided, name: value}

    def on_change(self, apply: Callable[[Settings], None]) -> None:
        """Have changed settings passed on to those who work by them."""
        self._apply = apply

    def get(self, path: str | None, *, effective: bool) -> Any:
        """What is stored below a path or, if ``effective``, what counts, as plain data.

        A path that has no value has None. Raises ``InvalidArgumentError`` for an unknown one.
        """
        settings = self.settings
        values = dict(self._stored)
        if effective:
            servers = settings.runtime.all_settings.items()
            values = {
                **self._effective(self._stored),
                **values_in(settings),
                **{f"runtime.settings.{name}": value for name, value in servers},
            }
        if path is None:
            return _nested(values)
        _check_of_engine(path)
        if find(path) is not None:
            return _shown(path, values.get(path))
        if not _is_section(path):
            raise unknown("config", path)
        return _nested(values, path)

    def set(self, path: str, value: Any) -> ConfigValue:
        """Store a setting or, given a map, those in it: all of them or none.

        Raises ``InvalidArgumentError`` for an unknown path or a wrong value, ``ConflictError`` for
        what an option of ``engine serve`` has set, and ``ProgramsNotAllowedError``.
        """
        changed = {name: _read(name, one) for name, one in _leaves(path, value)}
        if not changed:
            raise InvalidArgumentError(
                f"config: nothing is set in {path}", remedy="give it at least one setting"
            )
        return self._change(path, {**self._stored, **changed}, changed)

    def remove(self, path: str) -> ConfigValue:
        """Remove what is stored below a path, so that its default counts again. May be repeated.

        Raises like ``set``.
        """
        self.get(path, effective=False)
        # The name of a map's entry may be the beginning of another's.
        section = None if find(path) else f"{path}."
        gone = [
            name for name in self._stored if name == path or (section and name.startswith(section))
        ]
        kept = {name: value for name, value in self._stored.items() if name not in gone}
        return self._change(path, kept, gone)

    def schema(self) -> Mapping[str, Any]:
        """The JSON Schema of all settings."""
        return json_schema()

    def _change(self, path: str, stored: Layer, names: "Layer | list[str]") -> ConfigValue:
        for name in names:
            self._check_allowed(name)
        capacity.check(settings_of(self._effective(stored)).cache.capacity)
        wanted = self._wanted(stored)
        if all(wanted.get(name) is not None for name in _PAIR):
            # The next engine would not start with what cannot be used.
            certificate(settings_of(wanted).engine)
        self._store(json.dumps(_nested(stored, show=plain), indent=2).encode() + b"\n")
        self._stored = stored
        self._apply(self.settings)
        now, then = values_in(self.settings), values_in(settings_of({**self._decided, **wanted}))
        return ConfigValue(
            path=path,
            value=self.get(path, effective=False),
            restart_required=any(
                _key(name).setting.restart and now.get(name) != then.get(name) for name in names
            ),
        )

    def _store(self, content: bytes) -> None:
        try:
            write_private(self._file, content)
        except OSError as error:
            # A smaller cache may be what makes room.
            if error.errno not in DiskFullError.ERRNOS or not Reserve(self._file.parent).give_up():
                raise
            write_private(self._file, content)

    def _check_allowed(self, name: str) -> None:
        if name in self._options:
            raise ConflictError(
                f"{name} was given as an option of `engine serve`, which comes first",
                remedy="change it there",
            )
        if _key(name).setting.restart and self.settings.engine.allow_programs is False:
            raise ProgramsNotAllowedError(
                f"{name} may decide which programs run, and this engine runs none for its clients",
                remedy="set it where the engine is started, or start it with "
                "engine.allowPrograms=true",
            )

    def _wanted(self, stored: Layer) -> Layer:
        return {**self._defaults, **stored, **self._options}

    def _effective(self, stored: Layer) -> Layer:
        """What counts now: changes of some settings wait for the engine's next start."""
        wanted = self._wanted(stored)
        return {
            **self._decided,
            **{name: value for name, value in self._started.items() if _key(name).setting.restart},
            **{name: value for name, value in wanted.items() if not _key(name).setting.restart},
        }


def _without_half_a_pair(wanted: Layer, stored: Layer) -> Layer:
    """Leave out a certificate that was stored without its key, or the other way round.

    The two are stored one after the other, and an engine that starts in between has to start.
    """
    given = [name for name in _PAIR if wanted.get(name) is not None]
    if len(given) != 1 or given[0] not in stored:
        return wanted
    _log.warning("this engine has no TLS: of %s only %s is set", " and ".join(_PAIR), given[0])
    return {name: value for name, value in wanted.items() if name not in _PAIR}


def _stored_in(file: Path) -> Layer:
    try:
        tree = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(
            f"{file} cannot be read: {error}", remedy="correct it, or remove it"
        ) from error
    if not isinstance(tree, dict):
        raise InvalidArgumentError(
            f"{file} must be a map of settings", remedy="correct it, or remove it"
        )
    return {name: _read(name, value, str(file)) for name, value in _leaves("", tree)}


def _check_of_engine(name: str, origin: str = "config") -> None:
    if name in OWN:
        raise InvalidArgumentError(
            f"{origin}: {name} is not a setting of the engine",
            remedy="it belongs to a command: see docs/configuration.md",
        )


def _read(name: str, value: Any, origin: str = "config") -> Any:
    _check_of_engine(name, origin)
    made = read(origin, name, value, Path("/"))
    paths = made if isinstance(made, tuple) else (made,)
    if any(isinstance(one, Path) for one in paths) and not all(
        part.startswith(("/", "~")) for part in str(value).split(":") if part
    ):
        raise InvalidArgumentError(
            f"{origin}: {name} must be absolute", remedy="write it from / on"
        )
    return made


def _key(name: str) -> Key:
    key = find(name)
    assert key is not None
    return key


def _shown(name: str, value: Any) -> Any:
    return _SECRET if value is not None and _key(name).setting.secret else plain(name, value)


def _is_section(path: str) -> bool:
    """Whether there are settings below a path."""
    properties = json_schema()
    for part in path.split("."):
        if part not in properties.get("properties", {}):
            return False
        properties = properties["properties"][part]
    return True


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The settings in what is given for a path: their keys and values."""
    if isinstance(value, dict):
        if path.count(".") > _DEEPEST:
            raise unknown("config", path)
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, inner)
    else:
        yield path, value


def _nested(
    values: Layer, path: str = "", *, show: Callable[[str, Any], Any] = _shown
) -> dict[str, Any]:
    """The values below a path as a map of maps. The name of a map's entry may contain dots."""
    root: dict[str, Any] = {}
    for name, value in values.items():
        if path and not name.startswith(f"{path}."):
            continue
        key = _key(name)
        parts = [*key.name.split("."), *([key.entry(name)] if key.is_map else [])]
        *sections, last = parts[len(path.split(".")) if path else 0 :]
        section = root
        for part in sections:
            section = section.setdefault(part, {})
        section[last] = show(name, value)
    return root
