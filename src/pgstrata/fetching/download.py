"""Downloads that are resumed after an interruption and verified by their hash."""

import base64
import errno
import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pgstrata.domain.model import Model
from pgstrata.errors import DiskFullError, ProgramError

PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further try of a download that broke off and did not get on."""

Progress = Callable[[int, int], None]
"""Told how many bytes there are by now, and how many there are to be."""

_TIMEOUT = 60.0
_CHUNK = 256 * 1024
_PASSING = (408, 425, 429)
"""Statuses below 500 that another try may not meet again."""


class Artifact(Model, frozen=True, kw_only=True):
    """A file whose content is known beforehand."""

    name: str
    """Its file name, as registries have it."""
    integrity: str
    """Its digest as npm writes it: the algorithm, a hyphen, and the digest in base64."""
    size: int
    """In bytes."""

    def is_in(self, path: Path) -> bool:
        """Whether a file is this one, whatever it is called."""
        return path.stat().st_size == self.size and _integrity(path, self.integrity)


class _Rejected(Exception):  # noqa: N818 - turned into an error for people where it is caught
    """What came is not what it should be."""


def silent(_got: int, _size: int) -> None:
    """Progress that nobody watches."""


def fetch(
    artifact: Artifact,
    url: str,
    directory: Path,
    *,
    progress: Progress = silent,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Have the file in ``directory``, going on with what an earlier try left of it; its path.

    Nobody else may be fetching it there. What is not the file it should be is deleted. Raises
    ``ProgramError`` when it cannot be had, ``DiskFullError``.
    """
    target = directory / artifact.name
    if target.is_file() and artifact.is_in(target):
        return target
    part = target.with_name(f"{target.name}.part")
    went_on = part.exists()
    try:
        _receive(artifact, url, part, progress, pauses)
        _check(artifact, part)
    except _Rejected:
        part.unlink(missing_ok=True)
        raise _not_the_original(artifact, url, went_on=went_on) from None
    return part.replace(target)


def opened(url: str, headers: dict[str, str] | None = None) -> Any:
    """What is at a URL, to be read; a name and password in it are sent as HTTP wants them."""
    parts = urlsplit(url)
    request = urllib.request.Request(bare(url), headers=headers or {})  # noqa: S310 - the registry is the user's own choice
    if parts.username is not None:
        said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        word = base64.b64encode(said.encode()).decode()
        # Not for the place that a registry may send us on to.
        request.add_unredirected_header("Authorization", f"Basic {word}")
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        raise


def bare(url: str) -> str:
    """A URL without the name and password it may have, to be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def room_needed(directory: Path) -> Iterator[None]:
    """Turn the system's word for a full disk into ``DiskFullError``."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(directory).free // 1_000_000
        raise DiskFullError(
            f"no space left in {directory} ({free} MB are free)",
            remedy="free space there and run the same command again: it resumes the download",
        ) from error


def _check(artifact: Artifact, part: Path) -> None:
    if not artifact.is_in(part):
        raise _Rejected


def _receive(
    artifact: Artifact, url: str, part: Path, progress: Progress, pauses: Sequence[float]
) -> None:
    """Have all bytes in ``part``, trying again as long as that gets on."""
    waits = iter(pauses)
    while True:
        before = _size(part)
        try:
            _go_on(artifact, url, part, progress)
            return
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _Rejected from None
            if error.code < 500 and error.code not in _PASSING:
                raise _unobtainable(artifact, url, reason) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        if _size(part) > before:
            waits = iter(pauses)
        pause = next(waits, None)
        if pause is None:
            raise _unobtainable(artifact, url, reason)
        time.sleep(pause)


def _go_on(artifact: Artifact, url: str, part: Path, progress: Progress) -> None:
    start = _size(part)
    if start == artifact.size:
        return
    if start > artifact.size:
        raise _Rejected
    with opened(url, {"Range": f"bytes={start}-"} if start else None) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            start = 0
        told = answer.headers.get("Content-Length")
        if told is not None and start + int(told) != artifact.size:
            raise _Rejected
        with room_needed(part.parent), part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            _copy(answer, file, start, artifact.size, progress)
    if _size(part) < artifact.size:
        raise ConnectionError("the connection ended too early")


def _copy(answer: Any, file: Any, got: int, size: int, progress: Progress) -> None:
    while chunk := answer.read1(_CHUNK):
        file.write(chunk)
        file.flush()  # what came is to be there after a kill
        got += len(chunk)
        if got > size:
            raise _Rejected
        progress(got, size)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _integrity(path: Path, wanted: str) -> bool:
    algorithm, _, digest = wanted.partition("-")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm)
    return base64.b64encode(found.digest()).decode() == digest


def _unobtainable(artifact: Artifact, url: str, reason: str) -> ProgramError:
    return ProgramError(
        f"{artifact.name} cannot be fetched from {bare(url)}: {reason}",
        remedy="check that the registry can be reached, or use a local file: --from",
    )


def _not_the_original(artifact: Artifact, url: str, *, went_on: bool) -> ProgramError:
    again = "run it again to start from the beginning, or " if went_on else ""
    return ProgramError(
        f"the file at {bare(url)} is not the expected {artifact.name}: "
        "its hash differs, and it was deleted",
        remedy=f"{again}use a registry that has the original, or a local file: --from",
    )
