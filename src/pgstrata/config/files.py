"""Configuration files: where they lie, and what one says once its profile is applied."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgstrata.client_errors import UsageError
from pgstrata.config.keys import Layer, Value, check

PROJECT_FILE = Path(".pgstrata") / "config.yaml"
_PROFILES = "profiles"


def project_file(cwd: Path) -> Path | None:
    """The nearest ``.pgstrata/config.yaml`` in a directory or one above it."""
    for directory in (cwd, *cwd.parents):
        path = directory / PROJECT_FILE
        if path.is_file():
            return path
    return None


def user_file(env: Mapping[str, str]) -> Path | None:
    """The user's own file, if it is there."""
    base = env.get("XDG_CONFIG_HOME")
    home = env.get("HOME")
    if not base and not home:
        return None
    directory = Path(base) if base else Path(str(home)) / ".config"
    path = directory / "pgstrata" / "config.yaml"
    return path if path.is_file() else None


class ConfigFile:
    """One file, read and checked."""

    def __init__(self, path: Path) -> None:
        """Raises ``UsageError`` naming the file, and the key if it is one."""
        self.path = path
        tree = _parsed(path)
        profiles = tree.pop(_PROFILES, None) or {}
        if not isinstance(profiles, dict):
            raise _wrong(path, _PROFILES, "must hold profiles by name")
        self.plain = _layer(path, tree, "")
        self.profiles = {
            str(name): _layer(path, _section(path, f"{_PROFILES}.{name}", section), "")
            for name, section in profiles.items()
        }


def _section(path: Path, key: str, section: Any) -> dict[Any, Any]:
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _wrong(path, key, "must hold settings by name")
    return section


def _parsed(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", remedy="make it readable, or remove it"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError(
            f"{path} is not valid YAML", remedy="mend the place shown below", details=str(error)
        ) from error
    if not isinstance(tree, dict | None):
        raise UsageError(f"{path} must hold settings by name", remedy="write it as `key: value`")
    return dict(tree or {})


def _layer(path: Path, tree: Mapping[Any, Any], prefix: str) -> Layer:
    return {key: _checked(path, key, value) for key, value in _leaves(tree, prefix)}


def _leaves(tree: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _checked(path: Path, key: str, value: Any) -> Value:
    if not isinstance(value, str | int | float):
        raise _wrong(path, key, "must be a single value")
    try:
        return check(key, value)
    except KeyError as error:
        raise UsageError(
            f"{path}: there is no setting {key}",
            remedy="look for a slip of the pen, or remove it",
        ) from error
    except ValueError as error:
        raise _wrong(path, key, str(error)) from error


def _wrong(path: Path, key: str, must: str) -> UsageError:
    return UsageError(f"{path}: {key} {must}", remedy="correct the value in that file")
