"""Makes directory trees from others, without copying their files where possible.

Every call blocks. Trees are given by open directories, as in ``walking``.
"""

import errno
import os
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import PurePath

from pgstrata.statefs.copying import copy_entry, copy_metadata
from pgstrata.statefs.merging import Directory, Entry
from pgstrata.system import planted

_NOT_LINKED = frozenset(
    {
        errno.EMLINK,  # a file on ext4 can have at most 65,000 links
        errno.EXDEV,  # another subvolume, made by another backend
    }
)


def link_tree(directory: Directory, target: int) -> None:
    """Make an empty directory the same tree, whose files are shared by hard links."""
    for entry in directory.entries():
        if entry.is_directory:
            os.mkdir(entry.name, 0o700, dir_fd=target)
            with (
                directory.enter(entry) as below,
                planted.open_directory(entry.name, target) as child,
            ):
                link_tree(below, child)
        else:
            _link(entry, target)
    copy_metadata(directory.descriptor, target)


def unshare(root: int, names: Sequence[str]) -> None:
    """Give the names of one file their own copy of it, which no other tree shares."""
    with ExitStack() as opened:
        places = []
        for name in names:
            path = PurePath(name)
            directory = opened.enter_context(planted.open_below(root, str(path.parent)))
            places.append((directory, path.name, os.fstat(directory)))
        draft = f".{secrets.token_hex(8)}"
        first, original, _ = places[0]
        copy_entry(original, first, draft, first)
        os.rename(draft, original, src_dir_fd=first, dst_dir_fd=first)
        for directory, name, _ in places[1:]:
            os.link(original, draft, src_dir_fd=first, dst_dir_fd=directory, follow_symlinks=False)
            os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
        for directory, _, status in places:
            os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _link(entry: Entry, target: int) -> None:
    try:
        os.link(
            entry.name,
            entry.name,
            src_dir_fd=entry.parent,
            dst_dir_fd=target,
            follow_symlinks=False,
        )
    except OSError as error:
        if error.errno not in _NOT_LINKED:
            raise
        copy_entry(entry.name, entry.parent, entry.name, target)
