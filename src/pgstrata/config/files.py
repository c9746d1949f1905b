"""Configuration files: where they are, and the settings in one and in its profiles."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pgstrata.config.keys import Layer, read
from pgstrata.errors import InvalidArgumentError

PROJECT_FILE = Path(".pgstrata") / "config.yaml"
_PROFILES = "profiles"
_IMAGE_NAME = "image.name"
"""What `image` is called beside `image.initdb`: a mapping has no value of its own."""


def project_file(cwd: Path) -> Path | None:
    """Find the nearest ``.pgstrata/config.yaml``, in a directory or above it."""
    for directory in (cwd, *cwd.parents):
        path = directory / PROJECT_FILE
        if path.is_file():
            return path
    return None


def user_file(env: Mapping[str, str]) -> Path | None:
    """Find the user's own file, if there is one."""
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
        """Raises ``InvalidArgumentError`` naming the file, and the key if one is wrong."""
        self.path = path
        tree = _parse(path)
        profiles = tree.pop(_PROFILES, None) or {}
        if not isinstance(profiles, dict):
            raise _not_a_mapping(path, _PROFILES, "profiles")
        self.plain = _layer(path, tree)
        self.profiles = {
            str(name): _layer(path, _section(path, f"{_PROFILES}.{name}", section))
            for name, section in profiles.items()
        }


def _section(path: Path, key: str, section: Any) -> dict[Any, Any]:
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise _not_a_mapping(path, key, "settings")
    return section


def _parse(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InvalidArgumentError(
            f"cannot read {path}: {error.strerror}", remedy="make it readable, or remove it"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidArgumentError(
            f"{path} is not valid YAML", remedy="fix the error shown below", details=str(error)
        ) from error
    if not isinstance(tree, dict | None):
        raise InvalidArgumentError(
            f"{path} must be a mapping of settings", remedy="write it as `key: value`"
        )
    return dict(tree or {})


def _layer(path: Path, tree: Mapping[Any, Any]) -> Layer:
    """Read a section. Relative paths start from the directory that the file configures."""
    base = path.parent.parent if path.parent.name == ".pgstrata" else path.parent
    leaves = (("image" if key == _IMAGE_NAME else key, value) for key, value in _leaves(tree, ""))
    return {key: read(str(path), key, value, base) for key, value in leaves}


def _leaves(tree: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _not_a_mapping(path: Path, key: str, content: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{path}: {key} must be a mapping of {content}", remedy="correct it there"
    )
