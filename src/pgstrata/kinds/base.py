"""The kind ports: how a request becomes steps, and how a step is carried out.

A kind has two sides. The recipe side runs where the sources are and knows no server; the runner
side runs where the server is and knows no request. A step crosses from one to the other as plain
data: what the runner needs to know stands in it, or in the files that it names by digest.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import LocalSources, Sources
from pgstrata.runtime.base import LineSink, Runtime

T = TypeVar("T")


class RecipeSide(Protocol):
    """From a request and its sources to steps."""

    @property
    def name(self) -> str:
        """What ``prepare_kind`` calls it, and its steps."""

    def normalize(self, request: PrepareRequest) -> str:
        """The request's arguments in one canonical spelling, for people and for listings.

        Looks at the arguments alone, not at any file. Raises ``InvalidArgumentError``.
        """

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        """Read every input from ``sources`` and split the request into steps, at least one.

        A step's ``inputs`` are all that was read for it and all that was looked for in vain: by
        them it is noticed when one changes before the step has run. Its ``parts`` name what
        its digest covers, so that a plan can say what differs.

        Raises ``InvalidArgumentError`` when an input is missing or cannot be read, and
        ``UncacheableError`` when one cannot be known and the request does not say to run it.
        """


class RunnerSide(Protocol):
    """From a step to a change in a server."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        *,
        flush_query: str | None = None,
    ) -> str | None:
        """Carry the step out against a running server of ``runtime``, with the kind's own tool.

        ``sources`` hold the step's inputs as its digest has them (``Sources.hold``): below their
        ``local_root`` a tool finds each at its path. What the tool says is passed on line by line
        as it comes. Cancelled, the tool is gone before this returns. Raises ``StepFailedError``
        with the tool's own words when the step fails, ``ProgramError`` when the tool cannot be
        started.

        ``flush_query`` is the dbms's query of that name, for when all is done. A tool whose session
        stays asks it there, in a session like a new one, and its first value is returned; others
        return None.
        """


class Kind(NamedTuple):
    """One way of saying how a database is made."""

    recipe: RecipeSide
    runner: RunnerSide


def lookup(kinds: Mapping[str, T], name: str) -> T:
    """What there is of the kind of this name. Raises ``InvalidArgumentError`` if nothing is."""
    try:
        return kinds[name]
    except KeyError:
        raise InvalidArgumentError(
            f"there is no prepare_kind {name!r}",
            remedy=f"this engine knows: {', '.join(sorted(kinds))}",
        ) from None


def fields_of(request: PrepareRequest, model: type[T]) -> T:
    """The request's own fields of its kind, as that kind's model of them.

    Raises ``InvalidArgumentError`` when they do not fit it.
    """
    try:
        return msgspec.convert(request.fields, model)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(
            f"the request does not fit the kind {request.prepare_kind}: {error}",
            remedy="GET /openapi.json says what a request may hold",
        ) from error
