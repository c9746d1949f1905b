"""What a kind says of itself, so that nothing else need know it: the place where a new one starts.

A package registers an object like ``KindPlugin`` under the entry point group ``pgstrata.kinds``.
The command line imports this module and the plugin's for every command of the kind: they need
nothing but the standard library until they are asked for more.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import msgspec

    from pgstrata.kinds.base import Kind

T = TypeVar("T")


class Option(NamedTuple):
    """One option of a command. Without a ``metavar`` it is a switch."""

    flags: tuple[str, ...]
    """Its spellings; the first long one is its name."""
    about: str
    metavar: str | None = None

    @property
    def name(self) -> str:
        """How it is asked for in what was given."""
        return next((flag for flag in self.flags if flag.startswith("--")), self.flags[0])


class Given(Protocol):
    """What was given on a command line."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words after the options: the kind's arguments."""

    def has(self, name: str) -> bool:
        """Whether the switch was given."""

    def last(self, name: str) -> str | None:
        """The value given last for an option, or None."""

    def read(self, name: str, convert: Callable[[str], T]) -> T | None:
        """The last value, converted; a ``ValueError`` of ``convert`` is told as wrong usage."""

    def read_every(self, name: str, convert: Callable[[str], T]) -> list[T]:
        """All values, converted like that."""


class Caller(NamedTuple):
    """Who calls the command line."""

    work_dir: Path
    """The directory that relative paths start from."""
    stdin: Callable[[], str]
    """Reads standard input to its end, for a request that carries it."""


class Help(NamedTuple):
    """What a command says about itself."""

    summary: str
    """One line for the overview."""
    about: str
    examples: tuple[str, ...] = ()


class CommandLine(NamedTuple):
    """The commands ``prepare:NAME`` and ``plan:NAME``, beside what those of all kinds have."""

    words: str
    """What its arguments are called in the usage line: ``PSQL-ARGS``."""
    prepare: Help
    plan: Help
    request: Callable[[Given, Caller], dict[str, Any]]
    """The fields that a command line comes to: the kind's own and, if it reads that, ``stdin``.

    Paths in them are absolute. Raises ``InvalidArgumentError``.
    """
    options: tuple[Option, ...] = ()


class KindPlugin(Protocol):
    """A kind as it is found by its entry point, whose name is its own."""

    @property
    def name(self) -> str:
        """What ``prepare_kind`` calls it: lower-case letters, digits, ``_`` and ``-``."""

    @property
    def command_line(self) -> CommandLine:
        """Its commands."""

    @property
    def section(self) -> str:
        """Where its settings stand in the configuration; mostly its name."""

    def settings(self) -> "type[tuple[Any, ...]] | None":
        """Its settings: a ``NamedTuple`` whose fields are marked with ``domain.setting.Setting``,
        as in ``pgstrata.settings``, each with a default. None where nothing can be set.
        """

    def request_fields(self) -> "type[msgspec.Struct]":
        """The fields that a request of this kind has of its own, each with a default.

        No name is one that all requests have. A kind's own are best begun with its name.
        """

    def open(self, settings: Any) -> "AbstractAsyncContextManager[Kind]":
        """Its two sides, for as long as an engine runs.

        ``settings`` is what its settings come to; None if it has none. Where only one side is
        needed the other costs nothing: neither starts anything before it is asked to work.
        """
