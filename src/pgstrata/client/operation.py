"""An operation of the engine as data: what is sent for a call of it, and what comes back.

A function without a body declares one. Its parameters that stand in the path go there, those that
are fields of its body's model go into that, and all others into the query; what is annotated as
returned is what a client returns. Nothing here sends anything.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, update_wrapper
from string import Formatter
from types import GenericAlias, NoneType
from typing import (
    Any,
    Generic,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)

import msgspec

from pgstrata.api.jobs import request_body
from pgstrata.client.answers import error_from
from pgstrata.client.http import Answer, Body, segment
from pgstrata.domain.deletion import DeleteNode, DeleteResult
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import (
    ConflictError,
    EngineStoppingError,
    InvalidArgumentError,
    PgstrataError,
    UnauthorizedError,
    UnreachableError,
)

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

_NO_LOSS = (TimeoutError, msgspec.DecodeError)
"""What is behind an error that was no loss of the connection."""
_REDIRECTS = range(300, 400)

NDJSON = {"Accept": "application/x-ndjson"}
"""What has a list come one item a line."""


class Call(NamedTuple, Generic[T]):
    """One call of an operation: the request, and how to read its response."""

    operation: "Operation[..., T]"
    path: str
    query: Mapping[str, str]
    body: Body | None = None
    headers: Mapping[str, str] = {}
    """Beside those that every request has."""

    def may_be_repeated(self, error: PgstrataError) -> bool:
        """Whether it may be sent again after an error, to the engine that there is by then.

        It may if the one that was asked has done nothing, or if twice is the same as once.
        """
        if isinstance(error, UnauthorizedError | EngineStoppingError):
            return True
        why = error.__cause__
        lost = isinstance(error, UnreachableError) and not isinstance(why, _NO_LOSS)
        return lost and (self.operation.repeatable or isinstance(why, ConnectionRefusedError))

    def read(self, answer: Answer) -> T:
        """The result in a response. Raises its error, or ``UnreachableError`` if it has neither."""
        self._check(answer)
        kind = self.operation.results.get(answer.status, self.operation.result)
        result: Any = None if kind is NoneType else answer.read(kind)
        return cast("T", result)

    def read_all(self: "Call[Iterator[Item]]", answer: Answer) -> list[Item]:
        """The same for a list that came in one piece."""
        self._check(answer)
        kind: Any = GenericAlias(list, self.operation.result)
        return cast("list[Item]", answer.read(kind))

    def _check(self, answer: Answer) -> None:
        if answer.status in _REDIRECTS:
            raise InvalidArgumentError(
                f"{self.path} stands for something by its name", remedy="give its id"
            )
        if answer.status >= 400:
            raise _blocked(answer) or error_from(answer.status, answer.data)


class Operation(Generic[P, T]):
    """What one method does on one path."""

    def __init__(
        self,
        declared: Callable[P, T],
        method: Method,
        path: str,
        *,
        body: type[msgspec.Struct] | None,
        headers: Mapping[str, tuple[str, str]],
        results: Mapping[int, type],
        repeatable: bool,
    ) -> None:
        self.method = method
        self.path = path
        self.body = body
        self.results = results
        """What responses with these statuses contain in place of ``result``."""
        self.repeatable = repeatable
        """Whether doing it twice is the same as doing it once."""
        self._declared = declared
        self._headers = headers
        update_wrapper(self, declared)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[T]:
        """What to send for these arguments. What is None, False or 0 is left out of the query."""
        bound = self.signature.bind(*args, **kwargs)
        given = bound.arguments
        path = {name: segment(str(given[name])) for name in self._in_path}
        query = {name: given[name] for name in self.query_names if given.get(name)}
        headers = {
            header: pattern.format(given[name])
            for name, (header, pattern) in self._headers.items()
            if given.get(name)
        }
        return Call(
            self,
            self.path.format_map(path),
            {name: "true" if value is True else str(value) for name, value in query.items()},
            self._body_of(given),
            {**(NDJSON if self.streams else {}), **headers},
        )

    def dress(self, method: Callable[..., Any]) -> None:
        """Have a method of a client look like the operation."""
        update_wrapper(method, self._declared)
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        parameters = (itself, *self.signature.parameters.values())
        vars(method)["__signature__"] = self.signature.replace(
            parameters=sorted(parameters, key=lambda parameter: parameter.kind)
        )

    @cached_property
    def signature(self) -> inspect.Signature:
        """Its parameters. A command calls few of all operations, and pays for no others."""
        return inspect.signature(self._declared)

    @property
    def streams(self) -> bool:
        """Whether the result comes bit by bit."""
        return getattr(self._returned, "__origin__", None) is Iterator

    @cached_property
    def result(self) -> Any:
        """The type of the result; of one item, if it comes bit by bit."""
        return get_args(self._returned)[0] if self.streams else self._returned

    @cached_property
    def query_names(self) -> frozenset[str]:
        """The names of the parameters that go into the query."""
        elsewhere = {*self._in_path, *self._in_body, *self._headers}
        return frozenset(
            name
            for name, parameter in self.signature.parameters.items()
            if name not in elsewhere and parameter.kind is not parameter.POSITIONAL_ONLY
        )

    @cached_property
    def _in_path(self) -> set[str]:
        return {name for _, name, _, _ in Formatter().parse(self.path) if name}

    @cached_property
    def _in_body(self) -> set[str]:
        return set(() if self.body is None else self.body.__struct_fields__)

    @cached_property
    def _returned(self) -> Any:
        return get_type_hints(self._declared)["return"]

    def _body_of(self, given: Mapping[str, Any]) -> Body | None:
        if self.body is not None:
            return self.body(**{name: given[name] for name in self._in_body & given.keys()})
        model = next((value for value in given.values() if isinstance(value, msgspec.Struct)), None)
        return request_body(model) if isinstance(model, PrepareRequest) else model


def operation(
    method: Method,
    path: str,
    *,
    body: type[msgspec.Struct] | None = None,
    headers: Mapping[str, tuple[str, str]] | None = None,
    results: Mapping[int, type] | None = None,
    repeatable: bool | None = None,
) -> Callable[[Callable[P, T]], Operation[P, T]]:
    """Declare an operation by a function.

    ``body``: the model of its body, if its fields are parameters; a parameter that is a model
    itself is the body. ``headers``: the headers that parameters go into, with the pattern of their
    values. ``repeatable``: by default, what only reads is.
    """
    safe = method == "GET" if repeatable is None else repeatable

    def declare(declared: Callable[P, T]) -> Operation[P, T]:
        return Operation(
            declared,
            method,
            path,
            body=body,
            headers=headers or {},
            results=results or {},
            repeatable=safe,
        )

    return declare


def _blocked(answer: Answer) -> ConflictError | None:
    """That something was not removed, as the result of a deletion says it."""
    if answer.status != 409:
        return None
    try:
        root = answer.read(DeleteResult).root
    except UnreachableError:
        return None
    return ConflictError(
        f"{root.kind} {root.id} was not removed",
        remedy="use force or recurse, as far as that is meant",
        details="\n".join(_reasons(root)),
    )


def _reasons(root: DeleteNode) -> Iterator[str]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.blocked is not None:
            yield f"{node.kind} {node.id}: {node.blocked.replace('_', ' ')}"
        waiting.extend(reversed(node.children))
