"""Common parts of the ``store`` commands."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pgstrata.cli.command import Context
from pgstrata.cli.options import Given
from pgstrata.domain import sizes
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.statefs.store_image import StoreImage

SIZE = Option(("--size",), "how large, such as 50G or 200GB", "SIZE")

_LETTERS = "kKmMgGtT"


def image_of(context: Context, given: Given, usage: str) -> "StoreImage":
    """The image of the one store that is named. Raises ``InvalidArgumentError``."""
    from pgstrata.statefs.store_image import StoreImage

    if len(given.words) != 1:
        raise InvalidArgumentError("name one directory, the store's", remedy=f"write: {usage}")
    return StoreImage(context.work_dir / Path(given.words[0]).expanduser())


def size_of(given: Given, usage: str) -> int:
    """The size that is wanted. Raises ``InvalidArgumentError``."""
    size = given.read("--size", _size)
    if size is None:
        raise InvalidArgumentError("the size is missing", remedy=f"write: {usage}")
    return size


def show(context: Context, image: "StoreImage", text: str) -> None:
    """Print what there is now, as JSON or as a text for people."""
    if not context.json:
        print(text)
        return
    about: dict[str, str | int] = {"store": str(image.store), "image": str(image.file)}
    if image.exists:
        about |= {"size_bytes": image.size_bytes, "held_bytes": image.held_bytes}
    print(json.dumps(about))


def _size(text: str) -> int:
    from pgstrata.statefs.store_image import LEAST_BYTES

    size = sizes.parse(f"{text}B" if text and text[-1] in _LETTERS else text)
    if size < LEAST_BYTES:
        raise ValueError(f"{text} is too small; give at least {sizes.write(LEAST_BYTES)}")
    return size
