"""The kind port: how a request becomes steps, and how a step is carried out."""

from collections.abc import Mapping
from typing import Protocol

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.runtime.base import LineSink, Runtime


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

    async def execute(
        self,
        step: Step,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        *,
        flush_query: str | None = None,
    ) -> str | None:
        """Carry the step out against a running server of ``runtime``, with the kind's own tool.

        What the tool says is passed on line by line as it comes. Cancelled, the tool is gone
        before this returns. Raises ``StepFailedError`` with the tool's own words when the step
        fails, ``ProgramError`` when the tool cannot be started.

        ``flush_query`` is the dbms's query of that name, for when all is done. A tool whose session
        stays asks it there, in a session like a new one, and its first value is returned; others
        return None.
        """


def chosen(kinds: Mapping[str, Kind], name: str) -> Kind:
    """The kind of this name. Raises ``InvalidArgumentError`` when there is none."""
    try:
        return kinds[name]
    except KeyError:
        raise InvalidArgumentError(
            f"there is no prepare_kind {name!r}",
            remedy=f"this engine knows: {', '.join(sorted(kinds))}",
        ) from None
