"""How a kind describes itself, so that nothing else need know it: where a new kind starts.

A package registers an object like ``KindPlugin`` in the entry point group ``pgstrata.kinds``. The
command line imports this module and the plugin's for every command of the kind: importing them must
need only the standard library.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    import msgspec

    from pgstrata.kinds.base import Kind
    from pgstrata.runtime.base import Companions

T = TypeVar("T")


class Option(NamedTuple):
    """One option of a command. Without a ``metavar`` it is a switch."""

    flags: tuple[str, ...]
    """Its spellings; the first long one is its name."""
    about: str
    metavar: str | None = None

    @property
    def name(self) -> str:
        """Its name for the methods of ``Given``."""
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
        """The last value, converted; a ``ValueError`` of ``convert`` becomes a usage error."""

    def read_every(self, name: str, convert: Callable[[str], T]) -> list[T]:
        """All values, converted in the same way."""


class Caller(NamedTuple):
    """Where the command line was called from."""

    work_dir: Path
    """The directory that relative paths start from."""
    stdin: Callable[[], str]
    """Reads standard input to its end, for a request that contains it."""
    variable: Callable[[str], str | None]
    """The value of a variable of its environment, or None."""


class Help(NamedTuple):
    """What a command says about itself."""

    summary: str
    """One line for the overview."""
    about: str
    examples: tuple[str, ...] = ()


class CommandLine(NamedTuple):
    """The commands ``prepare:NAME`` and ``plan:NAME``, apart from what all kinds share."""

    words: str
    """The name of its arguments in the usage line, such as ``PSQL-ARGS``."""
    prepare: Help
    plan: Help
    request: Callable[[Given, Caller], dict[str, Any]]
    """The request's fields for a command line: the kind's own and, if it reads that, ``stdin``.

    Paths in them are absolute. Raises ``InvalidArgumentError``.
    """
    options: tuple[Option, ...] = ()


class KindPlugin(Protocol):
    """A kind as registered by its entry point, which has the same name."""

    @property
    def name(self) -> str:
        """Its name in ``prepare_kind``: lower-case letters, digits, ``_`` and ``-``."""

    @property
    def command_line(self) -> CommandLine:
        """Its commands."""

    @property
    def section(self) -> str:
        """The section of its settings in the configuration; usually its name."""

    def settings(self) -> "type[tuple[Any, ...]] | None":
        """Its settings: a ``NamedTuple`` whose fields are annotated with
        ``domain.setting.Setting``, as in ``pgstrata.settings``, each with a default. None if it has
        none.
        """

    def request_fields(self) -> "type[msgspec.Struct]":
        """The fields of this kind's own in a request, each with a default.

        None has the name of a field that all requests have; start them with the kind's name.
        """

    def open(self, settings: Any) -> "AbstractAsyncContextManager[Kind]":
        """Its two sides, for as long as an engine runs.

        ``settings`` is an instance of its settings, None if it has none. A side that is not used
        costs nothing: neither starts anything before it has work.
        """


@runtime_checkable
class KeepingPlugin(Protocol):
    """A kind that keeps programs running."""

    def open_with(
        self, settings: Any, companions: "Companions"
    ) -> "AbstractAsyncContextManager[Kind]":
        """What an engine calls in place of ``KindPlugin.open``: ``companions`` start them."""
