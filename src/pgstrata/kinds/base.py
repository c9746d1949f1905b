"""The kind ports: how a request becomes steps, and how a step is run.

A kind has two sides. The recipe side runs where the sources are and knows no server; the runner
side runs where the server is and knows no request. A step passes from one to the other as plain
data: everything the runner needs is in it, or in the files that it names by digest.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec

from pgstrata.domain.instance import Server
from pgstrata.domain.plan import Step
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import LocalSources, Sources
from pgstrata.runtime.base import LineSink, Runtime

T = TypeVar("T")


class RecipeSide(Protocol):
    """Turns a request and its sources into steps."""

    @property
    def name(self) -> str:
        """Its name in ``prepare_kind`` and in its steps."""

    def normalize(self, request: PrepareRequest) -> str:
        """The request's arguments in one canonical spelling, for people and for listings.

        Depends only on the arguments, not on any file. Raises ``InvalidArgumentError``.
        """

    async def steps(self, request: PrepareRequest, sources: Sources) -> tuple[Step, ...]:
        """Read every input from ``sources`` and split the request into steps: at least one, unless
        it starts from a state, which may be what is wanted.

        A step's ``inputs`` are all that was read for it and all that was looked for in vain: by
        them it is noticed when one changes before the step has run. Its ``parts`` name what
        its digest covers, so that a plan can say what differs.

        Raises ``InvalidArgumentError`` if an input is missing or cannot be read, and
        ``UncacheableError`` if one cannot be known and the request does not say to run it.
        """


class RunnerSide(Protocol):
    """Turns a step into a change in a server."""

    async def execute(
        self,
        step: Step,
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
    ) -> None:
        """Run the step against a running server of ``runtime``, with the kind's own tool.

        ``sources`` hold the step's inputs with the content of its digest (``Sources.hold``): a tool
        finds each at its path below their ``local_root``. The tool's output is passed on line by
        line as it comes. If cancelled, the tool is gone before this returns. Raises
        ``StepFailedError`` with the tool's own message if the step fails, ``ProgramError`` if the
        tool cannot be started.
        """


@runtime_checkable
class RunsMany(RunnerSide, Protocol):
    """A runner side that stays connected, and can run several steps in one call."""

    async def execute_many(
        self,
        steps: Sequence[Step],
        sources: LocalSources,
        server: Server,
        runtime: Runtime,
        line: LineSink,
        goes_on: Callable[[], bool],
    ) -> None:
        """Run the first of these steps, then the next ones as long as that is possible.

        Before each of those ``goes_on`` is asked, in any thread, once nothing of the last one runs
        any more; if it does, ``line`` gets ``Passed``. Otherwise like ``execute``.
        """


class Kind(NamedTuple):
    """A way of describing how a database is made."""

    recipe: RecipeSide
    runner: RunnerSide


def check_on_error(kind: RecipeSide, request: PrepareRequest) -> None:
    """Refuse a request that is to go on after errors if its kind cannot.

    One that can says so by an attribute ``can_continue``. Raises ``InvalidArgumentError``.
    """
    if request.on_error == "continue" and not getattr(kind, "can_continue", False):
        raise InvalidArgumentError(
            f"steps of the kind {kind.name} cannot go on after an error",
            remedy="leave out --on-error=continue",
        )


def check_states(kind: RecipeSide, request: PrepareRequest) -> None:
    """Refuse a request for the states of tagged steps if its kind knows no tags.

    One that does says so by an attribute ``has_tags``. Raises ``InvalidArgumentError``.
    """
    if request.states == "tags" and not getattr(kind, "has_tags", False):
        raise InvalidArgumentError(
            f"steps of the kind {kind.name} have no tags",
            remedy="use --states=auto or --states=all",
        )


def keeps_session(kind: RunnerSide, step: Step) -> bool:
    """Whether its tool stays connected to the server after a step.

    One that does says so by an attribute of this name; a user's own tool never does.
    """
    return step.tool is None and getattr(kind, "keeps_session", False)


def reads_directories(kind: RecipeSide) -> bool:
    """Whether its sources must be in a directory, by an attribute of this name."""
    return getattr(kind, "reads_directories", False)


def lookup(kinds: Mapping[str, T], name: str) -> T:
    """The entry of the kind with this name. Raises ``InvalidArgumentError`` if there is none."""
    try:
        return kinds[name]
    except KeyError:
        raise InvalidArgumentError(
            f"there is no prepare_kind {name!r}",
            remedy=f"this engine knows: {', '.join(sorted(kinds))}",
        ) from None


def fields_of(request: PrepareRequest, model: type[T]) -> T:
    """The request's fields of its kind's own, as that kind's model.

    Raises ``InvalidArgumentError`` if they do not fit the model.
    """
    try:
        return msgspec.convert(request.fields, model)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(
            f"the request does not fit the kind {request.prepare_kind}: {error}",
            remedy="GET /openapi.json says what a request may hold",
        ) from error
