"""Options of ``engine serve`` for settings: made from them, and read like them."""

from pathlib import Path
from typing import Any

from pgstrata.cli.options import Given, setting_option
from pgstrata.config.keys import OWN, engine_keys, read
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

_ANY = Option(("--set",), "set any engine setting by its key; may be repeated", "KEY=VALUE")
_DEFAULT = Option(("--default",), "the same, unless `config set` has set it", "KEY=VALUE")


def engine_options() -> tuple[Option, ...]:
    """Make the options of ``engine serve`` for the engine's settings."""
    keys = engine_keys().values()
    return (*(setting_option(key) for key in keys if key.setting.option), _ANY, _DEFAULT)


def engine_settings(given: Given, work_dir: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the options for the engine's settings, by key, and those that are only defaults.

    Raises ``InvalidArgumentError``.
    """
    keys = {setting_option(key).name: key for key in engine_keys().values() if key.setting.option}
    values: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for flag, value in given.options:
        if flag in keys and not keys[flag].is_map:
            name, text = keys[flag].name, value
        elif flag in keys:
            entry, text = _split(flag, value)
            name = f"{keys[flag].name}.{entry}"
        elif flag in (_ANY.name, _DEFAULT.name):
            name, text = _split(flag, value)
        else:
            continue
        if name in OWN:
            raise InvalidArgumentError(
                f"{flag}: {name} is not a setting of the engine",
                remedy="omit it, or set it where the command is run",
            )
        into = defaults if flag == _DEFAULT.name else values
        into[name] = read(flag, name, text, work_dir)
    return values, defaults


def _split(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InvalidArgumentError(f'{flag}: "{text}" is not name=value', remedy=f"correct {flag}")
    return name, value
