"""Recipes as objects: what a database is made of, as the command line would have it.

Equal recipes lead to equal states, also with those of the command line. Relative paths start from
the directory in which the recipe is made.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pgstrata.config.model import Configuration, InitdbSettings
from pgstrata.domain.initdb import AS_ALWAYS, Initdb
from pgstrata.domain.plan import OnError, States
from pgstrata.domain.request import PrepareRequest, Uncacheable
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.liquibase import arguments as liquibase_arguments
from pgstrata.kinds.liquibase import search_path as search_paths
from pgstrata.kinds.psql import arguments as psql_arguments

Script = str | os.PathLike[str]
"""The path of a file."""


@dataclass(frozen=True)
class Recipe:
    """How a database is made. Make one with ``psql``, ``liquibase`` or ``state``."""

    request: PrepareRequest
    """What is asked of the engine, but for the instance."""
    before: "Recipe | None" = None
    """What comes first, if that is made in another way; the request goes on from its state."""

    def then(self, *steps: Script) -> "Recipe":
        """The recipe with further steps: SQL as text, and scripts as ``Path`` objects.

        Raises ``InvalidArgumentError`` for a text that is the name of a file.
        """
        words = [word for step in steps for word in _step(step)]
        request = self.request
        if request.prepare_kind == "psql":
            args = (*request.fields["psql_args"], *words)
            fields = {**request.fields, "psql_args": _absolute(args)}
            return Recipe(msgspec.structs.replace(request, fields=fields), self.before)
        return Recipe(_request("psql", psql_args=_absolute(words)), self)


def psql(
    *scripts: Script,
    image: str | None = None,
    variables: Mapping[str, str] | None = None,
    single_transaction: bool = False,
    arguments: Sequence[str] = (),
    on_error: OnError = "stop",
    settings: Mapping[str, str] | None = None,
    ref: str | None = None,
    uncacheable: Uncacheable = "refuse",
    states: States = "auto",
) -> Recipe:
    """A database made by psql from scripts, each of them a step; ``then`` adds others.

    ``image``: which PostgreSQL, such as ``postgres:16``; by default the configured one.
    ``variables``: psql's (``-v``). ``single_transaction``: each script is one (``-1``).
    ``arguments``: others of psql's, as on the command line. ``settings``: PostgreSQL's. ``ref``:
    the git revision that scripts are read from. ``uncacheable``: whether what cannot be known is
    refused, or run each time. ``states``: which steps leave a state. Raises
    ``InvalidArgumentError``.
    """
    words = [
        word for name, value in (variables or {}).items() for word in ("-v", f"{name}={value}")
    ]
    words += ["-1"] if single_transaction else []
    words += [*arguments, *(word for script in scripts for word in ("-f", os.fspath(script)))]
    return Recipe(
        _request(
            "psql",
            image,
            on_error=on_error,
            settings=dict(settings or {}),
            ref=ref,
            uncacheable=uncacheable,
            states=states,
            psql_args=_absolute(words) if scripts or arguments else words,
        )
    )


def liquibase(
    changelog: Script,
    *,
    image: str | None = None,
    contexts: str | Sequence[str] | None = None,
    labels: str | None = None,
    tag: str | None = None,
    search_path: Script | Sequence[Script] | None = None,
    parameters: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    ref: str | None = None,
    states: States = "auto",
) -> Recipe:
    """A database made by Liquibase from a changelog, each changeset a step.

    ``contexts`` and ``labels`` filter them. ``tag``: up to this one only. ``search_path``: where
    the changelog is looked for. ``parameters``: the changelog's (``-D``). ``env``: variables that
    it may use. The others are as with ``psql``. Raises ``InvalidArgumentError``.
    """
    words = [
        "update" if tag is None else "update-to-tag",
        f"--changelog-file={os.fspath(changelog)}",
    ]
    options = {
        "contexts": contexts
        if contexts is None or isinstance(contexts, str)
        else ",".join(contexts),
        "label-filter": labels,
        "tag": tag,
        "search-path": _searched(search_path),
    }
    words += [f"--{name}={value}" for name, value in options.items() if value is not None]
    words += [f"-D{name}={value}" for name, value in (parameters or {}).items()]
    liquibase_arguments.parse(words)
    return Recipe(
        _request(
            "lb",
            image,
            settings=dict(settings or {}),
            ref=ref,
            states=states,
            liquibase_args=[*liquibase_arguments.absolute(words, _here())],
            liquibase_env=dict(env or {}),
        )
    )


def state(ref: str) -> Recipe:
    """A state itself, by its id, 8 or more characters of it, or its name; ``then`` goes on."""
    return Recipe(msgspec.structs.replace(_request("psql", psql_args=[]), start_from=ref))


def completed(recipe: Recipe, configuration: Configuration, **instance: Any) -> PrepareRequest:
    """The request for a recipe, with what is configured where the recipe says nothing.

    ``instance``: the request's fields about its instance.
    """
    request = recipe.request
    changes: dict[str, Any] = dict(instance)
    if changes.get("instance_ttl") is None:
        changes["instance_ttl"] = configuration.default_ttl
    if request.start_from is None and recipe.before is None:
        changes["image_id"] = request.image_id or configuration.image
        if request.initdb == AS_ALWAYS:
            changes["initdb"] = initdb_of(configuration.initdb)
    changes["settings"] = {**configuration.server_settings, **request.settings}
    return msgspec.structs.replace(request, **changes)


def initdb_of(settings: InitdbSettings) -> Initdb:
    """How settings say that a cluster is made."""
    provider = None if settings.locale_provider == "libc" else settings.locale_provider
    asked = Initdb(**{**settings._asdict(), "locale_provider": provider})
    return AS_ALWAYS if asked == AS_ALWAYS else asked


def _request(kind: str, image: str | None = None, **given: Any) -> PrepareRequest:
    common = set(PrepareRequest.__struct_fields__)
    return PrepareRequest(
        prepare_kind=kind,
        image_id=image or "",
        work_dir=_here(),
        **{name: value for name, value in given.items() if name in common},
        fields={name: value for name, value in given.items() if name not in common},
    )


def _step(step: Script) -> tuple[str, str]:
    if not isinstance(step, str):
        return "-f", os.fspath(step)
    if step.lower().endswith(".sql") and not any(map(str.isspace, step.strip())):
        raise InvalidArgumentError(
            f'"{step}" is a file\'s name, and taken for SQL here',
            remedy=f"write then(Path({step!r}))",
        )
    return "-c", step


def _absolute(words: Sequence[str]) -> list[str]:
    return [*psql_arguments.absolute(words, _here())]


def _searched(places: Script | Sequence[Script] | None) -> str | None:
    if places is None:
        return None
    if isinstance(places, str | os.PathLike):
        return os.fspath(places)
    return search_paths.write(str(Path(_here(), place)) for place in places)


def _here() -> str:
    return str(Path.cwd())
