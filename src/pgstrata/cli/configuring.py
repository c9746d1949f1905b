"""Common parts of the ``config`` commands."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pgstrata.cli.command import Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.text import printable
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgstrata.api.configuration import ConfigValue


def words_of(given: Given, *names: str) -> tuple[str, ...]:
    """The words, exactly these. Raises ``InvalidArgumentError``."""
    if len(given.words) != len(names) or not given.words[0]:
        raise InvalidArgumentError(
            f"this needs {' and '.join(names)}",
            remedy="`pgstrata config get --effective` lists all",
        )
    return given.words


def show(path: str, value: Any) -> None:
    """Print a setting's value or, below a path, every setting with its value."""
    if isinstance(value, Mapping):
        for name, one in _lines(path, value):
            print(printable(f"{name}: {_text(one)}"))
    else:
        print(printable(_text(value)))


def show_change(context: Context, change: "ConfigValue", what: str) -> int:
    """Say what was changed, and when it takes effect. Returns the exit code."""
    if context.json:
        print_document(change)
        return 0
    print(what)
    if change.restart_required:
        print("it takes effect when the engine is started again: pgstrata engine stop")
    return 0


def _lines(path: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        below = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from _lines(below, value)
        else:
            yield below, value


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)
