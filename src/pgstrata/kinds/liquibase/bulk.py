"""Calls a method on each of many Java objects, in a few calls from here.

A call into Java takes longer than most of the methods called. Java can turn any method into a
function and map lists with it, which needs no class of ours, and no call for each object.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from pgstrata.kinds.liquibase.jvm import Java

T = TypeVar("T")

# Random for each process, so that no text contains them.
_BETWEEN = secrets.token_hex(16)
_NULL = secrets.token_hex(16)

_OBJECT = "java.lang.Object"
_COLLECTION = "java.util.Collection"
_PRIMITIVE = {"boolean": "java.lang.Boolean"}


class Rows(NamedTuple):
    """A list of Java objects, and for each the number of its owner."""

    objects: Any
    owners: Sequence[int]

    def grouped(self, values: Sequence[T], count: int) -> list[tuple[T, ...]]:
        """Values, one for each row, by owner, of which there are ``count``."""
        groups: list[list[T]] = [[] for _ in range(count)]
        for owner, value in zip(self.owners, values, strict=True):
            groups[owner].append(value)
        return [tuple(group) for group in groups]


class Bulk:
    """Turns methods into functions and calls them on rows. Only for Java's own thread."""

    def __init__(self, java: Java) -> None:
        self._java = java
        self._handles = java("java.lang.invoke.MethodHandles")
        collectors = java("java.util.stream.Collectors")
        self._to_list = java.lasting("to list", collectors.toList)
        self._to_text = java.lasting("to text", lambda: collectors.joining(_BETWEEN))
        # A counter: a Java number would become a Python one on its way here.
        semaphore = java("java.util.concurrent.Semaphore")
        self._begun = java.lasting("begun", lambda: semaphore(0))
        self._count = java.lasting("count", self._counter)
        self._counted = False
        self._owners: Sequence[int] = ()
        self._text = java.lasting("text", self._as_text)
        self._not_null = java.lasting("not null", self._predicate)
        self._is_null = self.function("java.util.Objects", "isNull", _OBJECT)
        self._size = self.function(_COLLECTION, "size")
        self._stream = self.function(_COLLECTION, "stream")
        self._as_list = self.function("java.util.Arrays", "asList", f"[L{_OBJECT};")

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Track ``owner`` until the end of the block."""
        self._counted = True
        try:
            yield
        finally:
            self._counted = False

    @property
    def owner(self) -> int:
        """The owner of the row being processed, for callbacks from Java."""
        return self._owners[int(self._begun.availablePermits()) - 1]

    def function(
        self,
        owner: str,
        name: str,
        *parameters: str,
        on: Any = None,
        more: Sequence[Any] = (),
        safe: bool = False,
    ) -> Any:
        """A method as a function of one object: its own, or with ``on`` its first argument.

        ``more`` are its last arguments. A ``safe`` one returns null if the method throws.
        """
        key = (owner, name, parameters, safe)

        def look_up() -> Any:
            return self._handle(owner, name, *parameters, safe=safe)

        if on is None and not more:
            return self._java.lasting(("function", key), lambda: self._as_function(look_up()))
        handle = self._java.lasting(("handle", key), look_up)
        if on is not None:
            handle = handle.bindTo(on)
        if more:
            handle = self._handles.insertArguments(handle, 1, self._array(_OBJECT, more))
        return self._as_function(handle)

    def map(self, rows: Rows, function: Any) -> Rows:
        """The function's result for each."""
        if not rows.owners:
            return rows
        return Rows(self._begin(rows).map(function).collect(self._to_list), rows.owners)

    def texts(self, rows: Rows, *functions: Any) -> list[str | None]:
        """The result of applying the functions in turn to each, as text; None for null."""
        if not rows.owners:
            return []
        stream = self._begin(rows)
        for function in (*functions, self._text):
            stream = stream.map(function)
        joined = stream.collect(self._to_text)
        return [None if text == _NULL else text for text in str(joined).split(_BETWEEN)]

    def flat(self, lists: Rows) -> Rows:
        """The items of all lists, each with the owner of its list."""
        if not lists.owners:
            return lists
        sizes = self.texts(lists, self._size)
        items = zip(lists.owners, sizes, strict=True)
        owners = [owner for owner, size in items for _ in range(int(str(size)))]
        return Rows(lists.objects.stream().flatMap(self._stream).collect(self._to_list), owners)

    def flat_arrays(self, arrays: Rows) -> Rows:
        """The items of all arrays."""
        return self.flat(self.map(arrays, self._as_list))

    def present(self, rows: Rows) -> tuple[Rows, set[int]]:
        """Those that are not null, and the owners of the others."""
        nulls = [text == "true" for text in self.texts(rows, self._is_null)]
        kept = [owner for owner, null in zip(rows.owners, nulls, strict=True) if not null]
        dropped = {owner for owner, null in zip(rows.owners, nulls, strict=True) if null}
        if not dropped:
            return rows, dropped
        present = rows.objects.stream().filter(self._not_null).collect(self._to_list)
        return Rows(present, kept), dropped

    def only(self, rows: Rows, wanted: Sequence[bool]) -> tuple[Rows, set[int]]:
        """Those that are wanted, and the owners of the others."""
        if all(wanted):
            return rows, set()
        copy = self._java("java.util.ArrayList")(rows.objects)
        for index, one in enumerate(wanted):
            if not one:
                copy[index] = None
        return self.present(Rows(copy, rows.owners))

    def _begin(self, rows: Rows) -> Any:
        if not self._counted:
            return rows.objects.stream()
        self._owners = rows.owners
        self._begun.drainPermits()
        return rows.objects.stream().peek(self._count)

    def _counter(self) -> Any:
        release = self._handle("java.util.concurrent.Semaphore", "release").bindTo(self._begun)
        anything = self._java.list(self._class(_OBJECT))
        counting = self._handles.dropArguments(release, 0, anything)
        return self._as_function(counting, "Consumer")

    def _as_text(self) -> Any:
        string = "java.lang.String"
        return self.function("java.util.Objects", "toString", _OBJECT, string, more=(_NULL,))

    def _predicate(self) -> Any:
        return self._as_function(self._handle("java.util.Objects", "nonNull", _OBJECT), "Predicate")

    def _handle(self, owner: str, name: str, *parameters: str, safe: bool = False) -> Any:
        types = self._java.lasting(
            ("types", parameters),
            lambda: self._array("java.lang.Class", [self._class(one) for one in parameters]),
        )
        method = self._class(owner).getMethod(name, types)
        lookup = self._java.lasting("lookup", self._handles.publicLookup)
        handle = lookup.unreflect(method)
        if parameters and parameters[-1].startswith("["):
            handle = handle.asFixedArity()
        return self._null_on_error(handle) if safe else handle

    def _null_on_error(self, handle: Any) -> Any:
        objects = handle.asType(handle.type().generic())
        thrown = self._class("java.lang.Throwable")
        null = self._handles.constant(self._class(_OBJECT), None)
        return self._handles.catchException(
            objects, thrown, self._handles.dropArguments(null, 0, self._java.list(thrown))
        )

    def _as_function(self, handle: Any, kind: str = "Function") -> Any:
        interface = self._class(f"java.util.function.{kind}")
        return self._java("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(
            interface, handle
        )

    def _class(self, name: str) -> Any:
        if name in _PRIMITIVE:
            return self._java(_PRIMITIVE[name]).TYPE
        return self._java.lasting(
            ("class", name), lambda: self._java("java.lang.Class").forName(name)
        )

    def _array(self, kind: str, items: Sequence[Any]) -> Any:
        made = self._java("java.lang.reflect.Array").newInstance(self._class(kind), len(items))
        for index, item in enumerate(items):
            made[index] = item
        return made
