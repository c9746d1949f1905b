"""Downloads that are resumed after an interruption and verified by their hash."""

import base64
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
"""Seconds to wait before each retry of an interrupted download without progress."""

Progress = Callable[[int, int], None]
"""Called with the number of bytes received so far, and the total."""

_TIMEOUT = 60.0
_CHUNK = 256 * 1024
_TRANSIENT = (408, 425, 429)
"""Statuses below 500 that may not occur again on a retry."""


class Artifact(Model, frozen=True, kw_only=True):
    """A file whose content is known beforehand."""

    name: str
    """Its file name in the registry."""
    integrity: str
    """Its digest in npm's format: the algorithm, a hyphen, and the digest in base64."""
    size: int
    """In bytes."""

    def is_in(self, path: Path) -> bool:
        """Whether a file has this content, whatever its name."""
        return path.stat().st_size == self.size and _integrity(path, self.integrity)


class _Rejected(Exception):  # noqa: N818 - turned into an error for people where it is caught
    """The content received is not the expected one."""


def silent(_got: int, _size: int) -> None:
    """Ignore the progress."""


def fetch(
    artifact: Artifact,
    url: str,
    directory: Path,
    *,
    progress: Progress = silent,
    pauses: Sequence[float] = PAUSES,
) -> Path:
    """Fetch the file into ``directory``, resuming an earlier download, and return its path.

    No other process may be fetching it there. A file with other content is deleted. Raises
    ``ProgramError`` if it cannot be fetched, ``DiskFullError``.
    """
    target = directory / artifact.name
    if target.is_file() and artifact.is_in(target):
        return target
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    try:
        _receive(artifact, url, part, progress, pauses)
        _check(artifact, part)
    except _Rejected:
        part.unlink(missing_ok=True)
        raise _not_the_original(artifact, url, resumed=resumed) from None
    return part.replace(target)


def open_url(url: str, headers: dict[str, str] | None = None) -> Any:
    """The response of a URL; a name and password in it are sent by HTTP authentication."""
    parts = urlsplit(url)
    request = urllib.request.Request(without_login(url), headers=headers or {})  # noqa: S310 - the registry is the user's own choice
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = base64.b64encode(login.encode()).decode()
        # Not for a server that the registry may redirect to.
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        raise


def without_login(url: str) -> str:
    """A URL without its name and password, to be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def report_full_disk(directory: Path) -> Iterator[None]:
    """Turn the system's error for a full disk into ``DiskFullError``."""
    try:
        yield
    except OSError as error:
        if error.errno not in DiskFullError.ERRNOS:
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
    """Receive all bytes into ``part``, retrying as long as there is progress."""
    waits = iter(pauses)
    while True:
        before = _size(part)
        try:
            _resume(artifact, url, part, progress)
            return
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.reason}"
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _Rejected from None
            if error.code < 500 and error.code not in _TRANSIENT:
                raise _unobtainable(artifact, url, reason) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
        if _size(part) > before:
            waits = iter(pauses)
        pause = next(waits, None)
        if pause is None:
            raise _unobtainable(artifact, url, reason)
        time.sleep(pause)


def _resume(artifact: Artifact, url: str, part: Path, progress: Progress) -> None:
    start = _size(part)
    if start == artifact.size:
        return
    if start > artifact.size:
        raise _Rejected
    with open_url(url, {"Range": f"bytes={start}-"} if start else None) as answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            start = 0
        length = answer.headers.get("Content-Length")
        if length is not None and start + int(length) != artifact.size:
            raise _Rejected
        with report_full_disk(part.parent), part.open("r+b" if part.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            _copy(answer, file, start, artifact.size, progress)
    if _size(part) < artifact.size:
        raise ConnectionError("the connection ended too early")


def _copy(answer: Any, file: Any, got: int, size: int, progress: Progress) -> None:
    while chunk := answer.read1(_CHUNK):
        file.write(chunk)
        file.flush()  # so that a kill loses nothing of it
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
        f"{artifact.name} cannot be fetched from {without_login(url)}: {reason}",
        remedy="check that the registry can be reached, or use a local file: --from",
    )


def _not_the_original(artifact: Artifact, url: str, *, resumed: bool) -> ProgramError:
    again = "run it again to start from the beginning, or " if resumed else ""
    return ProgramError(
        f"the file at {without_login(url)} is not the expected {artifact.name}: "
        "its hash differs, and it was deleted",
        remedy=f"{again}use a registry that has the original, or a local file: --from",
    )
