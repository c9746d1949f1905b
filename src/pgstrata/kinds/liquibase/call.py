"""A request's call of Liquibase: its arguments, environment and defaults files combined."""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path, PurePath, PurePosixPath

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.base import fields_of
from pgstrata.kinds.liquibase import arguments, defaults, options, search_path
from pgstrata.kinds.liquibase.arguments import Arguments
from pgstrata.kinds.liquibase.fields import LiquibaseFields
from pgstrata.kinds.liquibase.recipe import NAMING, Recipe
from pgstrata.kinds.liquibase.resources import on_class_path
from pgstrata.kinds.sources.base import Sources
from pgstrata.kinds.sources.memo import Memo

# A request is normalized first and made into steps then, and the same requests come again.
_parsed = lru_cache(maxsize=16)(arguments.parse)


def arguments_of(request: PrepareRequest) -> Arguments:
    """The request's arguments, without any file. Raises ``InvalidArgumentError``."""
    fields = fields_of(request, LiquibaseFields)
    texts = (*fields.liquibase_args, *chain.from_iterable(fields.liquibase_env.items()))
    if any("\0" in text for text in (*texts, fields.liquibase_exec or "")):
        raise InvalidArgumentError(
            "the request contains the character NUL, which no program can be given",
            remedy="leave it out",
        )
    given = _parsed(fields.liquibase_args)
    defaults.of_environment(fields.liquibase_env)
    if request.stdin:
        raise InvalidArgumentError(
            "the request has standard input that Liquibase does not read", remedy="leave it out"
        )
    return given


def recipe_of(
    request: PrepareRequest, work_dir: Path, sources: Sources, texts: Memo[str]
) -> Recipe:
    """The recipe of a request; ``texts`` reads defaults files.

    Raises ``InvalidArgumentError``.
    """
    given = arguments_of(request)
    env = fields_of(request, LiquibaseFields).liquibase_env
    chosen = {**defaults.of_environment(env), **given.values}
    filed, parameters = _filed(chosen.get("defaultsfile"), work_dir, sources, texts)
    chosen, parameters = {**filed, **chosen}, {**parameters, **given.parameters}
    recipe = _recipe(Arguments(given.command, chosen, parameters), work_dir)
    for root in map(PurePosixPath, recipe.search_path):
        if not sources.is_directory(root) and sources.look(root).input.digest is None:
            raise InvalidArgumentError(
                f"the search path names {root}, which does not exist",
                remedy="correct --search-path; write a path with a comma in it as a URL, with %2C "
                "for the comma: file:///srv/a%2Cb",
            )
    return recipe


def recipe_of_words(words: Sequence[str]) -> Recipe:
    """The recipe that ``Recipe.words`` made these of."""
    return _recipe(arguments.parse(words), Path("/"))


def _recipe(given: Arguments, work_dir: Path) -> Recipe:
    values = given.values
    if "changelogfile" not in values:
        raise InvalidArgumentError(
            "there is no changelog to prepare", remedy="name it: update --changelog-file=FILE"
        )
    roots = _roots(values.get("searchpath"), work_dir)
    counting, tagging = given.command == "update-count", given.command == "update-to-tag"
    return Recipe(
        command=given.command,
        changelog_file=_relative(values["changelogfile"], roots),
        search_path=tuple(str(root) for root in roots),
        contexts=values.get("contexts", ""),
        labels=values.get("labels", ""),
        count=int(values["count"]) if counting else None,
        tag=values["tag"] if tagging else None,
        naming={name: values[option] for name in NAMING if (option := options.key(name)) in values},
        parameters=dict(given.parameters),
    )


def java_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that Java gets, all of which a changelog may use."""
    own = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    return own | {name: value for name, value in env.items() if options.of_variable(name) is None}


def _filed(
    given: str | None, work_dir: Path, sources: Sources, texts: Memo[str]
) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    parameters: dict[str, str] = {}
    main, local = defaults.files(given, work_dir)
    for path in (main, local):
        _, text = texts.read(sources, path)
        if text is None:
            if given and path == main:
                raise InvalidArgumentError(
                    f"there is no defaults file {path}", remedy="correct --defaults-file"
                )
            continue
        found, more = defaults.of_text(text, str(path))
        values.update(found)
        parameters.update(more)
    return values, parameters


def _roots(given: str | None, work_dir: Path) -> tuple[PurePath, ...]:
    parts = search_path.read(given) if given else (".",)
    return tuple(PurePosixPath(os.path.normpath(work_dir / part)) for part in parts)


def _relative(changelog: str, roots: tuple[PurePath, ...]) -> str:
    """The changelog's name in the history: relative to a root of the search path."""
    plain = on_class_path(changelog.replace("\\", "/"))
    if not plain.startswith("/"):
        return str(PurePosixPath(os.path.normpath(plain)))
    for root in roots:
        if PurePosixPath(os.path.normpath(plain)).is_relative_to(root):
            return str(PurePosixPath(os.path.normpath(plain)).relative_to(root))
    raise InvalidArgumentError(
        f"the changelog {changelog} is in no directory of the search path",
        remedy="add its directory to the search path with --search-path=DIR",
    )
