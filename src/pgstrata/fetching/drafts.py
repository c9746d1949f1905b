"""Directories that exist completely or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgstrata.errors import ProgramError
from pgstrata.fetching.download import report_full_disk

_MARK = ".draft-"


@contextmanager
def draft(target: Path) -> Iterator[Path]:
    """A new directory that replaces ``target`` at the end of the block.

    All users may enter and read it, whatever the umask. Raises ``ProgramError`` if it cannot be
    made, ``DiskFullError``.
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
        with report_full_disk(target.parent):
            yield made
            made.chmod(0o755)
            shutil.rmtree(target, ignore_errors=True)
            made.replace(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def hidden(target: Path) -> Path:
    """Rename a directory in one step, and return its hidden path, to be deleted."""
    aside = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    return target.replace(aside)


def clear_drafts(directory: Path) -> None:
    """Remove drafts in a directory that kills left; no process may be making any there."""
    for left in directory.glob(f"{_MARK}*"):
        shutil.rmtree(left, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f"{_MARK}{target.name}-"
