"""All settings of the engine's as a JSON Schema."""

from typing import Any

from pgstrata.config.keys import Key, engine_keys

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """What a configuration may say for the engine, nested as in a file.

    What it allows can be loaded. Where the default is found only on the machine, the description
    tells how; ``x-restart`` marks what takes effect with the engine's next start.
    """
    root = {"$schema": DIALECT, "title": "Settings of pgstrata's engine", **_section()}
    for key in engine_keys().values():
        section = root
        *sections, last = key.name.split(".")
        for name in sections:
            section = section["properties"].setdefault(name, _section())
        section["properties"][last] = _described(key)
    return root


def _section() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": False}


def _described(key: Key) -> dict[str, Any]:
    setting = key.setting
    about = setting.about[0].upper() + setting.about[1:]
    if setting.default is not None:
        return {"description": f"{about}. Default: {setting.default}.", **_rest(key)}
    default = {} if key.default is None else {"default": key.values.plain(key.default)}
    return {"description": f"{about}.", **default, **_rest(key)}


def _rest(key: Key) -> dict[str, Any]:
    return {**key.values.schema, **({"x-restart": True} if key.setting.restart else {})}
