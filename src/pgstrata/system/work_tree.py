"""Which git work tree a directory belongs to, found without git."""

from pathlib import Path


def work_tree(directory: Path) -> Path:
    """The top of the work tree that a directory is in, or the directory itself if in none."""
    return next(
        (one for one in (directory, *directory.parents) if (one / ".git").exists()), directory
    )
