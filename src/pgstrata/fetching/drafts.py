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
def draft(target: Path) -> Iterator[Path]:
    """A new directory that takes ``target``, and what is there now goes, once the block is done.

    Everybody may pass it and look into it, whatever the umask says. Raises ``ProgramError`` when
    it cannot be made, ``DiskFullError``.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    except OSError as error:
        raise ProgramError(
            f"cannot write to {target.parent}: {error.strerror}",
            remedy="choose another directory: --to DIR",
        ) from error
    try:
        with room_needed(target.parent):
            yield made
            made.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            made.replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def hidden(target: Path) -> Path:
    """Take a directory's name away in one step; where it is now, to be deleted."""
    aside = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    return target.replace(aside)


def clear_drafts(directory: Path) -> None:
    """Remove what drafts in a directory were left by a kill; nobody may be making any there."""
    for left in directory.glob(f"{_MARK}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f"{_MARK}{target.name}-"
