"""What every command is made of, and what it is given to work with."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pgstrata.cli.options import HELP, Given
from pgstrata.config.model import Configuration
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.api.jobs import JobAccepted
    from pgstrata.client.engine import Engine
    from pgstrata.domain.request import PrepareRequest

Output = Literal["human", "json"]


class Context(NamedTuple):
    """What the options before the command, the environment and the configuration come to."""

    configuration: Configuration
    output: Output
    verbose: bool
    work_dir: Path
    """The caller's directory."""
    resources: ExitStack
    """What is let go when the command ends."""

    @property
    def json(self) -> bool:
        """Whether stdout carries one JSON document and nothing else."""
        return self.output == "json"

    def engine(self) -> "Engine":
        """The engine, started if it is not there. Raises ``PgstrataError``."""
        # Help and wrong usage must not pay for what it takes to speak HTTP.
        from pgstrata.client.connect import connect

        engine = connect(self.configuration)
        self.resources.callback(engine.close)
        return engine

    def submit(self, request: "PrepareRequest") -> "tuple[Engine, JobAccepted]":
        """Hand in a prepare request; the engine that has the job, and what it answered."""
        from pgstrata.client.connect import submit

        engine, accepted = submit(self.configuration, self.engine(), request)
        self.resources.callback(engine.close)
        return engine, accepted


class Command(NamedTuple):
    """A command: how it is used, what it says about itself, and what it does."""

    usage: str
    about: str
    options: tuple[Option, ...]
    examples: tuple[str, ...]
    run: Callable[[Context, Given], int]
    """Does it and returns the exit code. Raises ``PgstrataError``."""
    passes_on: bool = False
    """Whether the words after the options are another program's."""


def help_text(command: Command) -> str:
    """A command's own help."""
    parts = [f"usage: pgstrata {command.usage}", "", command.about.strip(), "", "options:"]
    parts += option_lines((*command.options, HELP))
    parts += ["", "examples:", *(f"  {example}" for example in command.examples)]
    return "\n".join(parts)


def option_lines(options: Sequence[Option]) -> list[str]:
    """One line for each option, aligned."""
    names = [", ".join(o.flags) + (f" {o.metavar}" if o.metavar else "") for o in options]
    width = max(map(len, names))
    return [
        f"  {name:<{width}}  {option.about}" for name, option in zip(names, options, strict=True)
    ]


class Detached(Exception):  # noqa: N818 - it is no error: the caller chose to
    """The caller left a job that keeps running."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id
