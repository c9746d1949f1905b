"""Layers of configuration: flag, then ``PGSTRATA_*`` variable, then project, then user.

Of the files, a profile's settings come before the plain ones of the same file.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pgstrata.config.files import ConfigFile, project_file, user_file
from pgstrata.config.keys import OWN, Layer, every_key, kind_keys, read
from pgstrata.config.model import Configuration
from pgstrata.errors import InvalidArgumentError

PROFILE_VARIABLE = "PGSTRATA_PROFILE"
LONGEST_STORE = 450
"""How many bytes the path of a store may have. SQLite's own limit is 512."""

_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

ROOT_STORE = Path("/var/lib/pgstrata")


def load(
    cwd: Path, env: Mapping[str, str], profile: str | None, flags: Mapping[str, str] | None = None
) -> Configuration:
    """What applies in a directory, with this environment. Flags go by their keys.

    A file's relative paths start from the directory that the file configures, any other from
    ``cwd``. Raises ``InvalidArgumentError`` for a wrong value, an unknown key, an unknown profile,
    or a store that cannot be where it is said to be.
    """
    files = [ConfigFile(path) for path in (project_file(cwd), user_file(env)) if path is not None]
    layers = (_flags(flags or {}, cwd), _variables(env, cwd), *_chosen(files, profile, env))
    said: dict[str, Any] = {}
    for layer in reversed(layers):
        said.update(layer)
    own = {name: said[name] for name in said.keys() & OWN.keys()}
    return Configuration(
        **{**own, "store": _usable(own.get("store") or default_store(env))},
        engine={name: value for name, value in said.items() if name not in OWN},
    )


def default_store(env: Mapping[str, str]) -> Path:
    """Where the store is when no one says: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return ROOT_STORE
    base = env.get("XDG_DATA_HOME")
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return (Path(base) if base else home / ".local" / "share") / "pgstrata"


def _usable(store: Path) -> Path:
    path = os.fsencode(store)
    if len(path) > LONGEST_STORE:
        reason = f"is longer than {LONGEST_STORE} bytes"
    elif _UNFIT.search(str(store)):
        # A server notes where it works in a line, and answers are in UTF-8.
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
    # Most commands are run without a variable for the engine, let alone for others' kinds.
    keys = OWN if given <= own else every_key()
    if given - {PROFILE_VARIABLE, *(key.variable for key in keys.values())}:
        keys = {**keys, **kind_keys()}
    return {
        key.name: read(key.variable, key.name, env[key.variable], cwd)
        for key in keys.values()
        if key.variable in given
    }


def _chosen(
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
