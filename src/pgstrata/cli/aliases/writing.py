"""Writing an alias file."""

import os
from collections.abc import Sequence
from pathlib import Path

from pgstrata.cli.aliases.files import AliasFile, Use, file_name, recognise
from pgstrata.cli.aliases.reading import Recipe
from pgstrata.errors import ConflictError, InvalidArgumentError
from pgstrata.system.work_tree import work_tree


def place(directory: Path, use: Use, word: str) -> AliasFile:
    """The file that a new alias goes to. Raises ``InvalidArgumentError`` for an unusable name."""
    path = Path(os.path.normpath(directory / word))
    if reason := _unusable(word):
        raise InvalidArgumentError(
            f'"{word}" cannot be the name of an alias: {reason}',
            remedy="name it like shop, or db/shop",
        )
    top = work_tree(directory)
    if not path.parent.resolve().is_relative_to(top.resolve()):
        raise InvalidArgumentError(
            f'"{word}" is outside of {top}, where aliases are looked for',
            remedy="name it like shop, or db/shop, or go to the repository that it is for",
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


def _unusable(word: str) -> str | None:
    """Why no alias can be called so, for people; None if one can."""
    name = word.rpartition("/")[2]
    if name in ("", ".", ".."):
        return "it is a directory" if word else "it is empty"
    if not word.isprintable() or name != name.strip():
        return "it has blanks around it, or characters that cannot be printed"
    if word.startswith("-") or name.startswith("-"):
        return "it looks like an option"
    return None


def text_of(recipe: Recipe) -> str:
    """A recipe as YAML."""
    import yaml

    fields: dict[str, str | Sequence[str]] = {"kind": recipe.kind, "args": list(recipe.args)}
    if recipe.image is not None:
        fields = {"kind": recipe.kind, "image": recipe.image, "args": list(recipe.args)}
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100)
