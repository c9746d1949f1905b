"""The values of settings, by type: how they are read, written and described."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pgstrata.domain import durations, sizes
from pgstrata.domain.setting import Setting, Share

Plain = str | int | float | bool
"""A value as it appears in files, variables and options."""


_WITHOUT_NUL: Mapping[str, Any] = {"pattern": "^[^\\u0000]*$"}
_TEXT: Mapping[str, Any] = {"type": "string", "minLength": 1, **_WITHOUT_NUL}

_MOST = 10**9
"""The largest number of anything."""


class Values(NamedTuple):
    """The values a setting may have: how they are read, written and described."""

    kind: str
    """For people: ``a size``."""
    rule: str
    """A further condition, worded to continue ``kind``."""
    read: Callable[[Plain], Any]
    """Raises ``ValueError`` for a value that is not accepted."""
    schema: Mapping[str, Any]
    """What is accepted, as JSON Schema; stricter than ``read`` about numbers given as text."""
    plain: Callable[[Any], str | int | float] = str
    """Writes a value so that ``read`` reads it back, also as text."""

    @property
    def accepted(self) -> str:
        """What is accepted, worded to continue "must be"."""
        return self.kind + self.rule


def values_of(kind: Any, setting: Setting) -> Values:
    """Return the values that a field of this type takes."""
    if get_origin(kind) is Literal:
        return _choice(get_args(kind))
    if NoneType in get_args(kind):
        [kind] = [one for one in get_args(kind) if one is not NoneType]
    return _BY_TYPE[kind](setting)


def _choice(choices: tuple[str, ...]) -> Values:
    def read(value: Plain) -> str:
        # YAML takes a bare `off` for false.
        text = "off" if value is False else value
        if text not in choices:
            raise ValueError
        return str(text)

    return Values(f"one of {', '.join(choices)}", "", read, {"enum": list(choices)})


def _text(setting: Setting) -> Values:
    if setting.form is None:
        return Values("text", ", and not empty", _read_text, _TEXT)
    name, rule, pattern = setting.form

    def read(value: Plain) -> str:
        text = _read_text(value)
        if re.search(pattern, text) is None:
            raise ValueError
        return text

    return Values(name, rule, read, {"type": "string", "pattern": pattern})


def _path(_setting: Setting) -> Values:
    return Values("a path", "", _read_path, _TEXT)


def _paths(_setting: Setting) -> Values:
    def read(value: Plain) -> tuple[Path, ...]:
        return tuple(_read_path(part) for part in _read_text(value).split(":") if part)

    return Values(
        "paths",
        ", separated by colons",
        read,
        _TEXT,
        lambda paths: ":".join(map(str, paths)),
    )


def _switch(_setting: Setting) -> Values:
    def read(value: Plain) -> bool:
        if isinstance(value, bool):
            return value
        if value not in ("true", "false"):
            raise ValueError
        return value == "true"

    return Values(
        "true or false", "", read, {"type": "boolean"}, lambda on: "true" if on else "false"
    )


def _names(_setting: Setting) -> Values:
    def read(value: Plain) -> tuple[str, ...]:
        names = tuple(name.strip() for name in _read_text(value).split(","))
        if not all(names):
            raise ValueError
        return names

    return Values(
        "names",
        ", separated by commas",
        read,
        {"type": "string", "pattern": r"^\s*[^\s,]+\s*(,\s*[^\s,]+\s*)*$"},
        ",".join,
    )


def _whole(setting: Setting) -> Values:
    def read(value: Plain) -> int:
        text = _digits(value)
        if not (text.isascii() and text.isdigit() and setting.least <= int(text) <= _MOST):
            raise ValueError
        return int(text)

    return Values(
        "a whole number",
        f", at least {setting.least}, at most {_MOST}",
        read,
        {"type": "integer", "minimum": setting.least, "maximum": _MOST},
        int,
    )


def _share(_setting: Setting) -> Values:
    def read(value: Plain) -> Share:
        share = float(_digits(value))
        if not 0 < share <= 1:
            raise ValueError
        return Share(share)

    return Values(
        "a fraction",
        ": more than 0, at most 1, such as 0.9",
        read,
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        float,
    )


def _size(setting: Setting) -> Values:
    number = r"[0-9]{1,18} *[bB]?|[0-9]{1,5}(\.[0-9]{1,2})? *[kKmMgGtT][iI]?[bB]"
    return Values(
        "a size",
        f" such as 500MB, 10GB or 512MiB{_at_least(setting, 'byte')}, at most "
        f"{sizes.write(sizes.LARGEST)}",
        lambda value: _not_below(setting.least, sizes.parse(_digits(value))),
        _number_or_text(setting, number, sizes.LARGEST),
        sizes.write,
    )


# As many digits of each unit as cannot be too long.
_DURATION = "[0-9]{1,8}s?|[0-9]{1,7}m|[0-9]{1,5}h|[0-9]{1,4}d|10000d"


def _duration(setting: Setting) -> Values:
    return Values(
        "a duration",
        f" such as 90s, 15m, 2h or 1d{_at_least(setting, 'second')}, at most "
        f"{durations.write(durations.LONGEST)}",
        lambda value: _not_below(setting.least, durations.parse(_digits(value))),
        _number_or_text(setting, _DURATION, durations.LONGEST),
        durations.write,
    )


def _map(setting: Setting) -> Values:
    """Return the values of a map's entry; ``schema`` is for the whole map."""
    return Values(
        "a single value",
        "",
        _read_entry,
        {
            "type": "object",
            "propertyNames": {
                "minLength": 1,
                "not": {"enum": list(setting.reserved)},
                **({"pattern": setting.entry} if setting.entry else {}),
            },
            "additionalProperties": {"type": ["string", "number", "boolean"], **_WITHOUT_NUL},
        },
    )


_BY_TYPE: Mapping[Any, Callable[[Setting], Values]] = {
    str: _text,
    bool: _switch,
    int: _whole,
    Share: _share,
    sizes.Bytes: _size,
    durations.Seconds: _duration,
    Path: _path,
    tuple[Path, ...]: _paths,
    tuple[str, ...]: _names,
    Mapping[str, str]: _map,
}


def _read_text(value: Plain) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _read_path(value: Plain) -> Path:
    try:
        return Path(_read_text(value)).expanduser()
    except RuntimeError as error:  # the home directory of a user that does not exist
        raise ValueError from error


def _read_entry(value: Plain) -> str:
    """Read a value for a PostgreSQL setting, in PostgreSQL's notation."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value)
    if "\0" in text:
        raise ValueError
    return text


def _digits(value: Plain) -> str:
    """Return a number as text. YAML's ``true`` is not one, although Python takes it for one."""
    if isinstance(value, bool):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _not_below(least: int, value: int) -> int:
    if value < least:
        raise ValueError
    return value


def _at_least(setting: Setting, unit: str) -> str:
    return f", at least {setting.least} {unit}" if setting.least else ""


def _number_or_text(setting: Setting, number: str, most: int) -> Mapping[str, Any]:
    """Return the schema of a size or duration: a number in its smallest unit, or text."""
    not_zero = "(?=.*[1-9])" if setting.least else ""
    return {
        "anyOf": [
            {"type": "integer", "minimum": setting.least, "maximum": most},
            {"type": "string", "pattern": f"^{not_zero}({number})$"},
        ]
    }
