"""Layers of configuration: flags, ``PGSTRATA_*`` variables, project file, user file.

The first layer with a value wins; in a file, a profile's settings come before the plain ones.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgstrata.config.files import ConfigFile, project_file, user_file
from pgstrata.config.keys import OWN, Layer, every_key, kind_keys, read
from pgstrata.config.model import Configuration, InitdbSettings
from pgstrata.errors import InvalidArgumentError

PROFILE_VARIABLE = "PGSTRATA_PROFILE"
LONGEST_STORE = 450
"""The longest path of a store, in bytes. SQLite's own limit is 512."""

_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

ROOT_STORE = Path("/var/lib/pgstrata")


def load(
    cwd: Path,
    env: Mapping[str, str],
    profile: str | None,
    flags: Mapping[str, str] | None = None,
    *,
    files: bool = True,
) -> Configuration:
    """Load the configuration for a directory and an environment. ``flags`` are by key.

    ``files``: whether the project's and the user's are read.

    Relative paths in a file start from the directory that the file configures, all others from
    ``cwd``. Raises ``InvalidArgumentError`` for a wrong value, an unknown key or profile, or a
    store at an unusable path.
    """
    paths = (project_file(cwd), user_file(env)) if files else ()
    read_files = [ConfigFile(path) for path in paths if path is not None]
    layers = (
        _flags(flags or {}, cwd),
        _variables(env, cwd),
        *_file_layers(read_files, profile, env),
    )
    origins = (None, None, *(str(file.path) for file in read_files for _ in range(2)))
    values: dict[str, Any] = {}
    come_from: dict[str, str] = {}
    for origin, layer in reversed([*zip(origins, layers, strict=True)]):
        values.update(layer)
        come_from.update({name: origin or _variable(name) for name in layer})
    own = {OWN[name].fields: values[name] for name in values.keys() & OWN.keys()}
    initdb = {fields[1]: value for fields, value in own.items() if len(fields) > 1}
    return Configuration(
        **{
            **{fields[0]: value for fields, value in own.items() if len(fields) == 1},
            "store": _check_store(own.get(("store",)) or default_store(env)),
            "initdb": InitdbSettings(**initdb),
        },
        engine={name: value for name, value in values.items() if name not in OWN},
        origins={name: origin for name, origin in come_from.items() if name not in OWN},
    )


def _variable(name: str) -> str:
    return "PGSTRATA_" + name.upper().replace(".", "_")


def default_store(env: Mapping[str, str]) -> Path:
    """Return the default store: the system's for root, otherwise the user's own (XDG)."""
    if os.geteuid() == 0:
        return ROOT_STORE
    base = env.get("XDG_DATA_HOME")
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return (Path(base) if base else home / ".local" / "share") / "pgstrata"


def _check_store(store: Path) -> Path:
    path = os.fsencode(store)
    if len(path) > LONGEST_STORE:
        reason = f"is longer than {LONGEST_STORE} bytes"
    elif _UNUSABLE.search(str(store)):
        # postmaster.pid has the data directory on a line, and responses are in UTF-8.
        reason = "contains a line break or another control character, or is not UTF-8"
    else:
        return store
    raise InvalidArgumentError(
        f"the store cannot be in {str(store)!a}: its path {reason}",
        remedy="choose another directory: --store DIR or PGSTRATA_STORE",
    )


def _flags(flags: Mapping[str, str], cwd: Path) -> Layer:
    return {name: read(f"--{name}", name, value, cwd) for name, value in flags.items()}


def _variables(env: Mapping[str, str], cwd: Path) -> Layer:
    given = {name for name, text in env.items() if name.startswith("PGSTRATA_") and text}
    own = {key.variable for key in OWN.values()}
    # Most commands run without a variable for the engine, let alone for a kind.
    keys = OWN if given <= own else every_key()
    if given - {PROFILE_VARIABLE, *(key.variable for key in keys.values())}:
        keys = {**keys, **kind_keys()}
    return {
        key.name: read(key.variable, key.name, env[key.variable], cwd)
        for key in keys.values()
        if key.variable in given
    }


def _file_layers(
    files: Sequence[ConfigFile], profile: str | None, env: Mapping[str, str]
) -> list[Layer]:
    name = profile or env.get(PROFILE_VARIABLE)
    if name and not any(name in file.profiles for file in files):
        known = sorted({known for file in files for known in file.profiles})
        raise InvalidArgumentError(
            f'there is no profile "{name}"',
            remedy=f"known profiles: {', '.join(known)}" if known else "no file defines any",
        )
    return [layer for file in files for layer in (file.profiles.get(name or "", {}), file.plain)]
