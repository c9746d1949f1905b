"""Says when an engine differs from what a command was written or configured for."""

import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgstrata import __version__
from pgstrata.cli.text import one_line
from pgstrata.config import keys
from pgstrata.config.model import Configuration
from pgstrata.errors import NotFoundError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine


def warn_of_version(version: str | None) -> None:
    """Warn if the engine has another version than this command."""
    if version not in (None, __version__):
        _warn(
            f"the engine is of version {version}, and this command of {__version__}: "
            "`pgstrata engine stop`, and the next command starts one of its own version"
        )


def warn_of_settings(configuration: Configuration, engine: "Engine") -> None:
    """Warn of each setting that the engine has its own value for, with where ours is from."""
    if not configuration.of_engine:
        return
    with suppress(NotFoundError):  # an engine of an earlier version
        theirs = engine.config(effective=True)
        for name, value in configuration.of_engine.items():
            ours, own = keys.plain(name, value), _value_at(theirs, name)
            if own != ours:
                _warn(
                    f"{configuration.origins[name]}: {name} is {_text(ours)}, but the engine has "
                    f"its own, {_text(own)}: `pgstrata config set {name} "
                    f"{shlex.quote(_text(ours))}` changes it for everybody who uses that engine"
                )


def _value_at(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _text(value: Any) -> str:
    if value is None:
        return "the default"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _warn(text: str) -> None:
    print(f"warning: {one_line(text)}", file=sys.stderr)
