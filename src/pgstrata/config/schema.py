"""All settings of the engine as a JSON Schema."""

from typing import Any

from pgstrata.config.keys import Key, engine_keys, kind_keys

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Make the schema of the engine's settings, nested as in a file.

    Everything it allows can be loaded. If a default depends on the machine, the description says
    how; ``x-restart`` marks settings that take effect when the engine is restarted.
    """
    root = {"$schema": DIALECT, "title": "Settings of pgstrata's engine", **_section()}
    for key in {**engine_keys(), **kind_keys()}.values():
        section = root
        *sections, last = key.name.split(".")
        for name in sections:
            section = section["properties"].setdefault(name, _section())
        section["properties"][last] = _describe(key)
    return root


def _section() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": False}


def _describe(key: Key) -> dict[str, Any]:
    setting = key.setting
    about = setting.about[0].upper() + setting.about[1:]
    if setting.default is not None:
        return {"description": f"{about}. Default: {setting.default}.", **_rest(key)}
    if key.default is None:
        return {"description": f"{about}.", **_rest(key)}
    # As text, a switch is a word.
    default = key.default if isinstance(key.default, bool) else key.values.plain(key.default)
    return {"description": f"{about}.", "default": default, **_rest(key)}


def _rest(key: Key) -> dict[str, Any]:
    return {**key.values.schema, **({"x-restart": True} if key.setting.restart else {})}
