"""What names a changeset's state, and what about it cannot be known beforehand. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pgstrata.domain.identity import Content, digest, step_digest
from pgstrata.kinds.liquibase.changelog import UNKNOWN_VERSION
from pgstrata.kinds.liquibase.listing import Found, Listing
from pgstrata.kinds.liquibase.recipe import Recipe
from pgstrata.kinds.sql import forbidden

NAME = "lb"

_OWN_CODE = {"customChange": "change", "customPrecondition": "precondition"}
_LARGE_OBJECT = re.compile(r'^\s*type="(?:BLOB|CLOB)"', re.MULTILINE | re.IGNORECASE)
_LOAD_DATA = ("loadData", "loadUpdateData")


class Problem(NamedTuple):
    """Why what a changeset does cannot be known from its inputs."""

    what: str
    remedy: str


class Context(NamedTuple):
    """What all changesets of a recipe have in common."""

    recipe: Recipe
    env: Mapping[str, str]
    installation: Mapping[str, str | None]

    @property
    def extended(self) -> bool:
        """Whether the user added jars."""
        return self.installation["extensions"] is not None


def digest_of(found: Found, context: Context, header: str = "") -> str:
    """The digest of the step that runs a changeset.

    ``header`` are the preconditions of the changelog as a whole, for the step that checks them.
    Path, id and author count, since Liquibase writes them into the database: the history of a
    state must be that of the changelog it was asked for with.
    """
    content: dict[str, Content] = {
        "installation": context.installation,
        "key": found.key,
        "checksum": found.checksum,
        "attributes": found.attributes,
        "more": found.more,
        "conditions": found.conditions,
        "sql": found.sql if found.complete else None,
        "contents": found.contents,
        "header": header,
    }
    if context.recipe.naming:
        content["naming"] = context.recipe.naming
    if found.rewritten:
        content["filters"] = [context.recipe.contexts, context.recipe.labels]
    if not found.complete or context.extended:
        # They may be substituted only when it runs, or read by unknown code.
        content["parameters"] = context.recipe.parameters
        content["env"] = context.env
    return step_digest(NAME, content)


def parts_of(found: Found, context: Context, header: str = "") -> dict[str, str]:
    """The inputs that ``digest_of`` covers, named for people (``Step.parts``)."""
    files = found.files[len(found.files) - len(found.contents) :]
    parts = {seen.input.name: content for seen, content in zip(files, found.contents, strict=True)}
    named: dict[str, Content] = {
        f"changeset {found.key}": [
            *(found.checksum, found.attributes, found.more, found.conditions),
            found.sql if found.complete else None,
        ],
        "Liquibase": {name: it for name, it in context.installation.items() if name != "java"},
        "Java": context.installation["java"],
    }
    if header:
        named["preconditions of the changelog"] = header
    if context.recipe.naming:
        named["schemas and history tables"] = context.recipe.naming
    if found.rewritten:
        named["contexts and labels"] = [context.recipe.contexts, context.recipe.labels]
    if not found.complete or context.extended:
        named["environment"] = context.env
        named |= {f"parameter {name}": text for name, text in context.recipe.parameters.items()}
    return parts | {name: digest([name, content]) for name, content in named.items()}


def digest_together(digests: Sequence[str]) -> str:
    """The digest of a step that runs several changesets in one session, from those of each."""
    return digests[0] if len(digests) == 1 else step_digest(NAME, {"together": list(digests)})


def empty_digest(listing: Listing, context: Context) -> str:
    """The digest of the only step of a recipe without changesets to run."""
    content: dict[str, Content] = {
        "installation": context.installation,
        "header": listing.header,
        "conditions": listing.header_conditions,
    }
    if context.recipe.naming:
        content["naming"] = context.recipe.naming
    return step_digest(NAME, content)


def problems(found: Found, context: Context) -> Iterator[Problem]:
    """What cannot be known about a changeset."""
    if "executeCommand" in found.changes:
        yield Problem("executeCommand runs a program", "do without it")
    if not context.extended:
        yield from _own_code((*found.changes, *found.conditions))
    if any(name in _LOAD_DATA for name in found.changes) and _LARGE_OBJECT.search(found.attributes):
        yield Problem(
            "columns of type BLOB and CLOB name files in their data",
            "load such values with insert and valueBlobFile or valueClobFile",
        )
    yield from _version((*found.key, found.attributes, *found.sql))
    texts = (*found.sql, found.attributes) if found.conditions or not found.complete else found.sql
    for text in texts:
        for one in forbidden.find(text.encode("utf-8", "surrogatepass")):
            yield Problem(one.what, "load the file with loadData")


def header_problems(listing: Listing, context: Context) -> Iterator[Problem]:
    """What cannot be known about a changelog's own preconditions."""
    if not context.extended:
        yield from _own_code(listing.header_conditions)
    yield from _version((listing.header,))
    for one in forbidden.find(listing.header.encode("utf-8", "surrogatepass")):
        yield Problem(one.what, "do without it")


def _own_code(names: tuple[str, ...]) -> Iterator[Problem]:
    for name in names:
        if what := _OWN_CODE.get(name):
            yield Problem(
                f"a custom {what} can do anything ({name})",
                "add its jar to liquibase.jars, so that its content counts",
            )


def _version(texts: tuple[str, ...]) -> Iterator[Problem]:
    if any(str(UNKNOWN_VERSION) in text for text in texts):
        yield Problem(
            "the server's version is used (${database.databaseMajorVersion} and the like), "
            "which is not known when the changelog is read",
            "give it as a parameter of your own: -Dname=value",
        )
