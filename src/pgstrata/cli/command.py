"""What a command consists of, and the context in which it runs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgstrata.cli.differences import warn_of_settings, warn_of_version
from pgstrata.cli.models import import_msgspec
from pgstrata.cli.options import HELP, Given
from pgstrata.config.model import Configuration
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobAccepted
    from pgstrata.client.engine import Engine
    from pgstrata.domain.request import PrepareRequest

Output = Literal["human", "json"]


class Context(NamedTuple):
    """The result of the options before the command, the environment and the configuration."""

    configuration: Configuration
    output: Output
    verbose: bool
    work_dir: Path
    """The caller's directory."""
    resources: ExitStack
    """Closed when the command ends."""

    @property
    def json(self) -> bool:
        """Whether stdout must be one JSON document and nothing else."""
        return self.output == "json"

    def engine(self) -> "Engine":
        """Connect to the engine, starting it if necessary. Raises ``PgstrataError``."""
        # Help and usage errors must not pay for importing an HTTP client.
        import_msgspec()
        from pgstrata.client.connect import connect

        engine = connect(self.configuration)
        self.resources.callback(engine.close)
        warn_of_version(engine.version)
        return engine

    def asked_engine(self) -> "Engine":
        """The same, for a request that settings matter to: says which of them the engine ignores.

        Raises ``PgstrataError``.
        """
        engine = self.engine()
        if engine.version is None:
            warn_of_version(engine.health().version)
        warn_of_settings(self.configuration, engine)
        return engine

    def warn_of_differences(self, running: "Engine") -> None:
        """Say in what an engine that ran already differs from this command and its settings."""
        warn_of_version(running.version or running.health().version)
        warn_of_settings(self.configuration, running)

    def submit(self, request: "PrepareRequest") -> "tuple[Engine, JobAccepted]":
        """Submit a prepare request. Returns the engine that has the job, and its response."""
        from pgstrata.client.connect import submit

        engine, accepted = submit(self.configuration, self.asked_engine(), request)
        self.resources.callback(engine.close)
        return engine, accepted


class Command(NamedTuple):
    """A command: its usage, its help, and what it does."""

    usage: str
    about: str
    options: tuple[Option, ...]
    examples: tuple[str, ...]
    run: Callable[[Context, Given], int]
    """Runs it and returns the exit code. Raises ``PgstrataError``."""
    passes_on: bool = False
    """Whether the arguments after the options are another program's."""
    flags_of_tool: tuple[str, ...] = ()
    """Those of our options for every command that mean something else to that program."""
    own_words: int = 0
    """How many words of its own stand before those; options may stand after them as well."""
    wordless: bool = False
    """Whether it takes options and nothing else."""
    empty_words: bool = False
    """Whether what it takes may be empty: not so for ids and names."""


def name_of(command: Command) -> str:
    """Its name, without its options and arguments."""
    words = command.usage.split()
    return " ".join(takewhile(lambda word: word.islower() and not word.startswith("["), words))


def help_text(command: Command) -> str:
    """Format a command's help."""
    parts = [f"usage: pgstrata {command.usage}", "", command.about.strip(), "", "options:"]
    parts += option_lines((*command.options, HELP))
    parts += ["", "examples:", *(f"  {example}" for example in command.examples)]
    return "\n".join(parts)


def option_lines(options: Sequence[Option]) -> list[str]:
    """Format one line for each option, aligned."""
    names = [", ".join(o.flags) + (f" {o.metavar}" if o.metavar else "") for o in options]
    width = max(map(len, names))
    return [
        f"  {name:<{width}}  {option.about}" for name, option in zip(names, options, strict=True)
    ]


INTERRUPTED = 130
"""The exit code of a command ended by Ctrl+C, as a shell reports it."""


class Signalled(BaseException):
    """A signal asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        """As a shell reports it."""


class Detached(Exception):  # noqa: N818 - it is not an error: somebody chose to
    """The user detached from a job, which keeps running, or a signal ended us."""

    def __init__(self, job_id: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(job_id)
        self.job_id = job_id
        self.exit_code = exit_code
