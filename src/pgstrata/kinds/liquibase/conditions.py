"""The preconditions of changesets, by name."""

from collections.abc import Iterator

from pgstrata.kinds.liquibase.bulk import Rows
from pgstrata.kinds.liquibase.changelog import Changelog, InvalidChangelogError
from pgstrata.kinds.liquibase.jvm import Java, java_errors_ignored

NESTING = ("preConditions", "and", "or", "not")
_CONTAINER = "liquibase.precondition.core.PreconditionContainer"


class Conditions:
    """The preconditions of a changelog."""

    def __init__(self, java: Java, changelog: Changelog) -> None:
        self._java = java
        self._bulk = bulk = changelog.bulk
        self._changelog = changelog
        self._name = bulk.function("liquibase.precondition.Precondition", "getName")
        self._nested = bulk.function(
            "liquibase.precondition.PreconditionLogic", "getNestedPreconditions", safe=True
        )

    def names(self, conditions: Rows) -> list[tuple[str, ...]]:
        """For each precondition its name and those of all nested ones, outer ones first.

        Raises ``InvalidChangelogError`` for one whose class is missing.
        """
        if not conditions.owners:
            return []
        names = [str(name) for name in self._bulk.texts(conditions, self._name)]
        numbered = Rows(conditions.objects, range(len(names)))
        # Most have no nested ones, and lack the method.
        nested, _ = self._bulk.present(self._bulk.map(numbered, self._nested))
        inner = self._bulk.flat(nested)
        within = inner.grouped(self.names(inner), len(names))
        return [
            (self._describe(conditions, number, name), *_joined(within[number]))
            for number, name in enumerate(names)
        ]

    def may_continue(self, containers: Rows) -> list[bool]:
        """For each changeset's preconditions whether it may be skipped, and tried again later."""
        texts = self._bulk.texts
        on_fail = texts(containers, self._bulk.function(_CONTAINER, "getOnFail"))
        on_error = texts(containers, self._bulk.function(_CONTAINER, "getOnError"))
        return ["CONTINUE" in pair for pair in zip(on_fail, on_error, strict=True)]

    def _describe(self, conditions: Rows, number: int, name: str) -> str:
        """The name of one, with the value of the property it checks."""
        if name == "customPrecondition":
            self._check_class(str(conditions.objects.get(number).getClassName()))
        if name != "changeLogPropertyDefined":
            return name
        name_of_value = conditions.objects.get(number).getProperty()
        value = self._changelog.parameters.getValue(name_of_value, self._changelog.parsed)
        return f"{name}={value}"

    def _check_class(self, name: str) -> None:
        """Raise ``InvalidChangelogError`` for a precondition whose class is missing.

        Liquibase looks for it only when it runs, and then treats the precondition as failed.
        """
        loader = self._java("liquibase.Scope").getCurrentScope().getClassLoader()
        with java_errors_ignored() as failed:
            self._java("java.lang.Class").forName(name, False, loader)
        if failed:
            raise InvalidChangelogError(f"java.lang.ClassNotFoundException: {name}")


def _joined(groups: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    for group in groups:
        yield from group
