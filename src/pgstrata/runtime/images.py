"""Image names: what can be asked for, and which installation is meant. Pure."""

import re
from collections.abc import Sequence

from pgstrata.domain.image import Installation
from pgstrata.domain.model import Model
from pgstrata.errors import InvalidArgumentError

_IMAGE = re.compile(
    r"postgres"
    r"(?::(?P<version>[0-9]+(?:\.[0-9]+|beta[0-9]+|rc[0-9]+|devel)?))?"
    r"(?:@sha256:(?P<digest>[0-9a-f]{64}))?"
)
_SPELLINGS = "postgres, postgres:16, postgres:16.4 or postgres@sha256:<64 hex>"
_GET_ONE = "install it, for instance with `pip install 'pgstrata[postgres]'`"


class ImageRef(Model, frozen=True, kw_only=True):
    """An image's name, taken apart. Neither part given means the newest there is."""

    version: str | None = None
    """A major version, or a whole one."""
    digest: str | None = None
    """64 lower-case hex characters."""


def parse(image_id: str) -> ImageRef:
    """Take an image's name apart. Raises ``InvalidArgumentError`` when it is none."""
    match = _IMAGE.fullmatch(image_id)
    if match is None:
        raise InvalidArgumentError(
            f"{image_id!r} is not an image the native runtime knows",
            remedy=f"ask for {_SPELLINGS}",
        )
    return ImageRef(version=match["version"], digest=match["digest"])


def image_id(digest: str) -> str:
    """The resolved name of the image with this digest."""
    return f"postgres@sha256:{digest}"


def version_key(version: str) -> tuple[int, int]:
    """Orders versions; a version before its release (``18beta1``) comes before ``18.0``."""
    major, _, minor = version.partition(".")
    number = re.match(r"[0-9]+", major)
    return (int(number[0]) if number else 0, int(minor) if minor.isdecimal() else -1)


def candidates(ref: ImageRef, installations: Sequence[Installation]) -> tuple[Installation, ...]:
    """The installations that the version asked for leaves, newest first, the usable ones only.

    Raises ``InvalidArgumentError``, saying what there is, when that leaves none.
    """
    named = [one for one in installations if _matches(ref.version, one)]
    usable = [one for one in named if one.problem is None]
    if usable:
        return tuple(sorted(usable, key=lambda one: version_key(one.version), reverse=True))
    if named:
        raise InvalidArgumentError(
            f"PostgreSQL {named[0].version} cannot be used: {named[0].problem}",
            remedy=f"put that right, or {_GET_ONE}",
        )
    raise not_installed(f"PostgreSQL {ref.version or ''}".rstrip(), installations)


def not_installed(what: str, installations: Sequence[Installation]) -> InvalidArgumentError:
    """The error for an image that nothing here matches."""
    return InvalidArgumentError(
        f"{what} is not installed; {_inventory(installations)}",
        remedy=f"{_GET_ONE}, or ask for one that is there",
    )


def _matches(version: str | None, installation: Installation) -> bool:
    if version is None or version == installation.version:
        return True
    return version.isdecimal() and int(version) == installation.major


def _inventory(installations: Sequence[Installation]) -> str:
    if not installations:
        return "no PostgreSQL was found on this machine"
    found = ", ".join(f"{one.version} ({one.source})" for one in installations)
    return f"installed: {found}"
