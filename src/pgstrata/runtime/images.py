"""Image names: which are valid, and which installation each means. Pure."""

import re
from collections.abc import Sequence

from pgstrata.domain.image import Installation
from pgstrata.domain.model import Model
from pgstrata.errors import InvalidArgumentError

PATTERN = (
    r"^postgres"
    r"(?::([0-9]+(?:\.[0-9]+|beta[0-9]+|rc[0-9]+|devel)?))?"
    r"(?:@sha256:([0-9a-f]{64}))?$"
)
"""What an image's name looks like, for JSON Schema as well: the groups are version and digest."""

_IMAGE = re.compile(PATTERN.strip("^$"))
_SPELLINGS = "postgres, postgres:16, postgres:16.4 or postgres@sha256:<64 hex>"

PACKAGED_MAJORS = range(10, 19)
"""What ``postgres install`` can install, on at least one platform."""


class ImageRef(Model, frozen=True, kw_only=True):
    """A parsed image name. With neither part it means the best installation."""

    version: str | None = None
    """A major version, or a full one."""
    digest: str | None = None
    """64 lower-case hex characters."""


def parse(image_id: str) -> ImageRef:
    """Parse an image's name. Raises ``InvalidArgumentError``."""
    match = _IMAGE.fullmatch(image_id)
    if match is None:
        raise InvalidArgumentError(
            f"{image_id!r} is not an image of the native runtime",
            remedy=f"use {_SPELLINGS}",
        )
    version, digest = match.groups()
    return ImageRef(version=version, digest=digest)


def image_id(digest: str) -> str:
    """The resolved name of the image with this digest."""
    return f"postgres@sha256:{digest}"


def version_key(version: str) -> tuple[int, int]:
    """Orders versions; a pre-release (``18beta1``) comes before ``18.0``."""
    major, _, minor = version.partition(".")
    number = re.match(r"[0-9]+", major)
    return (int(number[0]) if number else 0, int(minor) if minor.isdecimal() else -1)


def candidates(ref: ImageRef, installations: Sequence[Installation]) -> tuple[Installation, ...]:
    """The usable installations of the version asked for, the best first.

    One that lacks fewer of the usual extensions is better than a newer one that lacks more. Raises
    ``InvalidArgumentError``, listing the installations, if there are none.
    """
    named = [one for one in installations if _matches(ref.version, one)]
    usable = [one for one in named if one.problem is None]
    if usable:
        return tuple(sorted(usable, key=_rank, reverse=True))
    if named:
        raise InvalidArgumentError(
            f"PostgreSQL {named[0].version} cannot be used: {named[0].problem}",
            remedy=", or ".join(step for step in ("fix that", _install(ref)) if step),
        )
    raise not_installed(ref, installations)


def not_installed(ref: ImageRef, installations: Sequence[Installation]) -> InvalidArgumentError:
    """The error for an image that nothing here matches."""
    if ref.digest is not None:
        # A digest does not tell which package it was in.
        what, install = f"the PostgreSQL of {image_id(ref.digest)}", None
    else:
        what, install = f"PostgreSQL {ref.version or ''}".rstrip(), _install(ref)
    others = "use an image that is installed" if installations else None
    return InvalidArgumentError(
        f"{what} is not installed; {_inventory(installations)}",
        remedy=", or ".join(step for step in (install, others) if step)
        or "install PostgreSQL on this machine",
    )


def install_command(major: int) -> str | None:
    """The command that installs a major version; None if none does."""
    return f"pgstrata postgres install {major}" if major in PACKAGED_MAJORS else None


def _install(ref: ImageRef) -> str | None:
    major = version_key(ref.version)[0] if ref.version else PACKAGED_MAJORS[-1]
    command = install_command(major)
    if command is None:
        return None
    if ref.version is None or ref.version.isdecimal():
        return f"`{command}` installs it"
    return f"`{command}` installs the last release of PostgreSQL {major}"


def _rank(installation: Installation) -> tuple[int, tuple[int, int]]:
    return (-len(installation.lacks), version_key(installation.version))


def _matches(version: str | None, installation: Installation) -> bool:
    if version is None or version == installation.version:
        return True
    return version.isdecimal() and int(version) == installation.major


def _inventory(installations: Sequence[Installation]) -> str:
    if not installations:
        return "no PostgreSQL was found on this machine"
    found = ", ".join(f"{one.version} ({one.source})" for one in installations)
    return f"installed: {found}"
