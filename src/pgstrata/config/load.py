"""Layers of configuration: flag, then ``PGSTRATA_*`` variable, then project, then user.

Of the files, a profile's settings come before the plain ones of the same file.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pgstrata.client_errors import UsageError
from pgstrata.config.files import ConfigFile, project_file, user_file
from pgstrata.config.keys import ENGINE_FIELDS, KEYS, SETTING_PREFIX, Layer, Value, check, variable
from pgstrata.config.model import DEFAULT_IMAGE, Configuration

PROFILE_VARIABLE = "PGSTRATA_PROFILE"
_LIQUIBASE = "liquibase."
_MANY = "liquibase.jars"
LONGEST_STORE = 450
"""How many bytes the path of a store may have. SQLite's own limit is 512."""

_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

ROOT_STORE = Path("/var/lib/pgstrata")


def load(
    cwd: Path, env: Mapping[str, str], profile: str | None, flags: Layer | None = None
) -> Configuration:
    """What applies in a directory, with this environment. Flags go by their keys.

    A file's relative paths start from the directory that the file configures, any other from
    ``cwd``. Raises ``UsageError`` for a wrong value, an unknown key, an unknown profile, or a
    store that cannot be where it is said to be.
    """
    files = [ConfigFile(path) for path in (project_file(cwd), user_file(env)) if path is not None]
    layers = [_checked(flags or {}), _variables(env), *_chosen(files, profile, env)]
    merged = _merged(layers)
    store = merged.get("store")
    return Configuration(
        store=_usable(default_store(env) if store is None else _place(str(store), cwd)),
        endpoint=_text(merged, "endpoint"),
        token=_text(merged, "token"),
        image=_text(merged, "image") or DEFAULT_IMAGE,
        timeout=_number(merged, "timeout"),
        snapshot_backend=_text(merged, "snapshot.backend"),
        snapshot_consistency=_text(merged, "snapshot.consistency"),
        server_user=_text(merged, "runtime.user"),
        server_settings=_settings(merged),
        liquibase=_liquibase(merged, cwd),
        max_parallel=_number(merged, "orchestrator.jobs.maxParallel"),
        max_identical=_number(merged, "orchestrator.jobs.maxIdentical"),
        job_timeout=_number(merged, "orchestrator.jobs.timeout"),
        drain_timeout=_number(merged, "orchestrator.jobs.drainTimeout"),
        engine={key: merged[key] for key in ENGINE_FIELDS if key in merged},
    )


def default_store(env: Mapping[str, str]) -> Path:
    """Where the store is when no one says: the system's for root, else the user's own (XDG)."""
    if os.geteuid() == 0:
        return ROOT_STORE
    base = env.get("XDG_DATA_HOME")
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return (Path(base) if base else home / ".local" / "share") / "pgstrata"


def _merged(layers: Sequence[Layer]) -> dict[str, Value]:
    merged: dict[str, Value] = {}
    for layer in reversed(layers):
        merged.update(layer)
    return merged


def _chosen(
    files: Sequence[ConfigFile], profile: str | None, env: Mapping[str, str]
) -> list[Layer]:
    name = profile or env.get(PROFILE_VARIABLE)
    if name and not any(name in file.profiles for file in files):
        known = sorted({known for file in files for known in file.profiles})
        raise UsageError(
            f'there is no profile "{name}"',
            remedy=f"profiles there are: {', '.join(known)}" if known else "no file defines any",
        )
    return [
        _anchored(layer, file)
        for file in files
        for layer in (file.profiles.get(name or "", {}), file.plain)
    ]


def _anchored(layer: Layer, file: ConfigFile) -> Layer:
    directory = file.path.parent
    base = directory.parent if directory.name == ".pgstrata" else directory
    places = {
        key: ":".join(str(base / Path(path).expanduser()) for path in _paths(key, str(value)))
        for key, value in layer.items()
        if key == "store" or key.startswith(_LIQUIBASE)
    }
    return {**layer, **places}


def _variables(env: Mapping[str, str]) -> Layer:
    found = {key: (variable(key), env[variable(key)]) for key in KEYS if env.get(variable(key))}
    return {key: _value(name, key, text) for key, (name, text) in found.items()}


def _checked(flags: Layer) -> Layer:
    return {key: _value(f"--{key}", key, value) for key, value in flags.items()}


def _value(origin: str, key: str, value: Value) -> Value:
    try:
        return check(key, value)
    except ValueError as error:
        raise UsageError(
            f"{origin}: {error}", remedy=f"correct it, or leave {origin} out"
        ) from error


def _place(store: str, cwd: Path) -> Path:
    return Path(os.path.normpath(cwd / Path(store).expanduser()))


def _usable(store: Path) -> Path:
    path = os.fsencode(store)
    if len(path) > LONGEST_STORE:
        reason = f"is longer than {LONGEST_STORE} bytes"
    elif _UNFIT.search(str(store)):
        # A server notes where it works in a line, and answers are in UTF-8.
        reason = "has a line break or another control character in it, or is not UTF-8"
    else:
        return store
    raise UsageError(
        f"the store cannot be in {str(store)!a}: its path {reason}",
        remedy="choose another directory: --store DIR or PGSTRATA_STORE",
    )


def _settings(merged: Mapping[str, Value]) -> dict[str, str]:
    start = len(SETTING_PREFIX)
    return {
        key[start:]: str(value) for key, value in merged.items() if key.startswith(SETTING_PREFIX)
    }


def _liquibase(merged: Mapping[str, Value], cwd: Path) -> dict[str, tuple[Path, ...]]:
    """Each of the places Liquibase comes from; of jars there may be many, parted by colons."""
    return {
        key.removeprefix(_LIQUIBASE): tuple(_place(path, cwd) for path in _paths(key, str(value)))
        for key, value in merged.items()
        if key.startswith(_LIQUIBASE)
    }


def _paths(key: str, value: str) -> list[str]:
    return [part for part in value.split(":") if part] if key == _MANY else [value]


def _text(merged: Mapping[str, Value], key: str) -> str | None:
    return str(merged[key]) if key in merged else None


def _number(merged: Mapping[str, Value], key: str) -> int | None:
    return int(merged[key]) if key in merged else None
