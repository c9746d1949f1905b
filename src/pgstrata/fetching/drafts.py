"""Directories that are there whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgstrata.errors import ProgramError
from pgstrata.fetching.download import room_needed

_MARK = ".draft-"


@contextmanager
def draft(place: Path) -> Iterator[Path]:
    """A new directory that takes ``place``, and what is there now goes, once the block is done.

    Everybody may pass it and look into it, whatever the umask says. Raises ``ProgramError`` when
    it cannot be made, ``DiskFullError``.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=_prefix(place), dir=place.parent))
    except OSError as error:
        raise ProgramError(
            f"nothing can be put into {place.parent}: {error.strerror}",
            remedy="choose another place: --to DIR",
        ) from error
    try:
        with room_needed(place.parent):
            yield made
            made.chmod(0o755)
            shutil.rmtree(place, ignore_errors=True)
            made.replace(place)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def hidden(place: Path) -> Path:
    """Take a directory's name away in one step; where it is now, to be deleted."""
    aside = Path(tempfile.mkdtemp(prefix=_prefix(place), dir=place.parent))
    return place.replace(aside)


def clear_drafts(directory: Path) -> None:
    """Remove what drafts in a directory were left by a kill; nobody may be making any there."""
    for left in directory.glob(f"{_MARK}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(place: Path) -> str:
    return f"{_MARK}{place.name}-"
