"""Writing an alias file."""

import os
from collections.abc import Sequence
from pathlib import Path

from pgstrata.cli.aliases.files import AliasFile, Use, file_name, recognise
from pgstrata.cli.aliases.reading import Recipe
from pgstrata.errors import ConflictError, InvalidArgumentError


def place(directory: Path, use: Use, word: str) -> AliasFile:
    """The file that a new alias goes to. Raises ``InvalidArgumentError`` for an unusable name."""
    path = Path(os.path.normpath(directory / word))
    if not word.strip() or word.endswith("/") or not path.name.isprintable():
        raise InvalidArgumentError(
            f'"{word}" cannot be the name of an alias', remedy="name it like shop, or db/shop"
        )
    alias = recognise(path) or AliasFile(path.with_name(file_name(path.name, use)), path.name, use)
    if alias.use != use:
        raise InvalidArgumentError(
            f"{word} is the name of a {alias.use} file, and this is a {use} file",
            remedy="give the name without an ending",
        )
    return alias


def write(alias: AliasFile, recipe: Recipe, *, force: bool) -> None:
    """Write it. Raises ``ConflictError`` if there is one and not ``force``."""
    try:
        with alias.path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text_of(recipe))
    except FileExistsError as error:
        raise ConflictError(
            f"there is a {alias.path} already", remedy="--force overwrites it"
        ) from error
    except OSError as error:
        raise InvalidArgumentError(
            f"{alias.path} cannot be written: {error.strerror}",
            remedy="make its directory first, or choose another",
        ) from error


def text_of(recipe: Recipe) -> str:
    """A recipe as YAML."""
    import yaml

    fields: dict[str, str | Sequence[str]] = {"kind": recipe.kind, "args": list(recipe.args)}
    if recipe.image is not None:
        fields = {"kind": recipe.kind, "image": recipe.image, "args": list(recipe.args)}
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)
