"""Tells whether a published data directory is still what was published.

A digest of its metadata is kept beside its marker. It covers what a copy of the store has as well:
names, types, modes, owners, sizes, times of files and targets of links. A digest of its contents is
kept once they were read, which takes too long to be done whenever a state is made.

Only the kernel sets a file's ctime, but a hard link to a file changes it, which other states make
that overlay shares it with. So the ctimes of volumes that were never mounted over count, too: none
may be later than the digest's own. In a copy of a store they all are, and so they count only while
the digest is the very file that was written then. Every call blocks.
"""

import hashlib
import os
import stat
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from pgstrata.domain.model import Model
from pgstrata.statefs.base import DATA
from pgstrata.statefs.copying import Check
from pgstrata.statefs.layers import LAYER, Names
from pgstrata.system import faults, planted, walking
from pgstrata.system.planted import PlantedFileError
from pgstrata.system.walking import Found

DIGEST = "digest"
CONTENT = "content"
_MODE = 0o600
_CHUNK_BYTES = 1 << 20

_RUNS_AS_OTHERS = stat.S_ISUID | stat.S_ISGID


class _Digest(Model, frozen=True, kw_only=True):
    """The file ``DIGEST``."""

    metadata: str
    inode: int
    """Of the file itself, which a copy of the store does not have."""


class _Survey(NamedTuple):
    """What a walk through a data directory tells."""

    metadata: str
    links: list[Names]
    """The files with several links within it, each as its names."""
    changed: tuple[int, str]
    """The latest ctime of a file in nanoseconds, and that file."""


def write(volume: Path, data: Path) -> list[Names]:
    """Write the digest of ``data`` into the directory that is, or becomes, its ``volume``.

    Does not sync it. Returns the files of ``data`` with several links, each as its names. Raises
    ``PlantedFileError`` for what is neither a file, nor a directory, nor a link, and for a program
    that runs as its owner or group: PostgreSQL makes none of them.
    """
    survey = _survey(data)
    with faults.step("statefs.digest.write"):
        path = volume / DIGEST
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
        with os.fdopen(descriptor, "wb") as file:
            inode = os.fstat(descriptor).st_ino
            file.write(msgspec.json.encode(_Digest(metadata=survey.metadata, inode=inode)))
    return survey.links


def difference(volume: Path, *, deep: bool, check: Check) -> str | None:
    """How a published volume differs from what was published, for people; None if it does not.

    ``deep``: contents count, too, if they are known. None, too, if nothing is known of it.
    """
    kept = volume / DIGEST
    try:
        digest = msgspec.json.decode(kept.read_bytes(), type=_Digest)
    except FileNotFoundError:
        return None  # an earlier version published it
    except msgspec.DecodeError:
        return "the digest of its files cannot be read"
    try:
        survey = _survey(volume / DATA)
        if digest.metadata != survey.metadata:
            return "its files were changed: a name, mode, owner, size or time differs"
        status = kept.stat()
        if status.st_ino == digest.inode and not (volume / LAYER).exists():
            changed, name = survey.changed
            if changed > status.st_ctime_ns:
                return f"its file {name} was changed after it was made"
        if deep and (known := _known_content(volume)) and known != _content(volume / DATA, check):
            return "the content of its files is not what it was when it was first read"
    except (FileNotFoundError, PlantedFileError) as error:
        return f"its files were changed: {error}"
    return None


def learn(volume: Path, check: Check) -> bool:
    """Read the contents, for ``difference``. False if they are known, or nothing is of the volume.

    Raises ``FileNotFoundError`` if it is gone.
    """
    if not (volume / DIGEST).exists() or _known_content(volume) is not None:
        return False
    content = _content(volume / DATA, check)
    draft = volume / f".{CONTENT}"
    with faults.step("statefs.content.write"):
        draft.write_text(content)
        draft.chmod(_MODE)
        draft.rename(volume / CONTENT)
    return True


def is_learnt(volume: Path) -> bool:
    """Whether the contents were read."""
    return _known_content(volume) is not None


def _survey(data: Path) -> _Survey:
    entries: list[tuple[object, ...]] = []
    links: dict[tuple[int, int], list[str]] = defaultdict(list)
    changed = (0, "")
    device = data.lstat().st_dev
    for found in walking.everything_in(data):
        status = found.status
        mode = status.st_mode
        more: tuple[object, ...] = ()
        if status.st_dev != device:
            raise PlantedFileError(f"{found.path} is another file system, or a subvolume")
        if stat.S_ISREG(mode):
            if mode & _RUNS_AS_OTHERS:
                raise PlantedFileError(f"{found.path} is a program that runs as its owner or group")
            more = (status.st_size, status.st_mtime_ns)
            changed = max(changed, (status.st_ctime_ns, found.path))
        elif stat.S_ISLNK(mode):
            more = (os.fsencode(os.readlink(found.name, dir_fd=found.parent)),)
        elif not stat.S_ISDIR(mode):
            raise PlantedFileError(f"{found.path} is neither a file, nor a directory, nor a link")
        if status.st_nlink > 1 and not stat.S_ISDIR(mode):
            links[status.st_dev, status.st_ino].append(found.path)
        entries.append((os.fsencode(found.path), mode, status.st_uid, status.st_gid, *more))
    entries.sort()
    return _Survey(
        metadata=hashlib.sha256(msgspec.msgpack.encode(entries)).hexdigest(),
        links=[tuple(sorted(names)) for names in links.values() if len(names) > 1],
        changed=changed,
    )


def _known_content(volume: Path) -> str | None:
    try:
        return (volume / CONTENT).read_text()
    except FileNotFoundError:
        return None


def _content(data: Path, check: Check) -> str:
    files = sorted(
        (os.fsencode(found.path), _content_of(found, check))
        for found in walking.everything_in(data)
        if stat.S_ISREG(found.status.st_mode)
    )
    return hashlib.sha256(msgspec.msgpack.encode(files)).hexdigest()


def _content_of(file: Found, check: Check) -> bytes:
    digest = hashlib.sha256()
    with planted.open_file(file.name, file.parent) as (descriptor, _):
        while chunk := os.read(descriptor, _CHUNK_BYTES):
            digest.update(chunk)
            check()
    return digest.digest()
