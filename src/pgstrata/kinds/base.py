"""The kind port: how a request becomes steps, and a step a command."""

from typing import Protocol

from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import PgstrataError
from pgstrata.runtime.base import ToolCommand, ToolExit


class Kind(Protocol):
    """One way of saying how a database is made."""

    @property
    def name(self) -> str:
        """What ``prepare_kind`` calls it."""

    def normalize(self, request: PrepareRequest) -> str:
        """The request's arguments in one canonical spelling, for people and for listings.

        Looks at the arguments alone, not at any file. Raises ``InvalidArgumentError``.
        """

    async def steps(self, request: PrepareRequest) -> tuple[Step, ...]:
        """Read every input and split the request into steps, at least one.

        Raises ``InvalidArgumentError`` when an input is missing or cannot be read, and
        ``UncacheableError`` when one cannot be known and the request does not say to run it.
        """

    async def check_unchanged(self, step: Step) -> None:
        """Raise ``InputChangedError``, naming the file, if an input of the step is not as it was
        when the step was made.
        """

    def command(self, step: Step) -> ToolCommand:
        """The command that carries out the step."""

    def failure(self, step: Step, ended: ToolExit) -> PgstrataError:
        """The error to report when the step's tool ended with an exit code other than 0."""
