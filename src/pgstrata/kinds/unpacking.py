"""Unpacks compressed scripts: as a stream, into a file without a name on a disk. Checks archives.

However much comes out, memory holds some windows of it. A file that is made to become huge fills
the disk of temporary files, which ends it with an error.
"""

import bz2
import errno
import gzip
import lzma
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from pgstrata.errors import DiskFullError, InvalidArgumentError
from pgstrata.kinds.formats import BEGINNING, Packing, recognise

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 1 << 16
_WINDOW_LOG = 27
"""The largest window of zstd that is decoded, like by its own program: 128 MiB."""
_XZ_BYTES = 256 << 20
"""How much memory xz may take: its highest level needs 65 MiB."""
_BLOCK = 512
"""What a tar archive consists of."""
_FULL = (*DiskFullError.ERRNOS, errno.EFBIG)


COPY_AGAIN = "check that it was copied as a whole"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _zstd() -> _Decompressor:
    options = {int(zstd.DecompressionParameter.window_log_max): _WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options)


_DECOMPRESSORS: dict[Packing, Callable[[], _Decompressor]] = {
    "xz": lambda: lzma.LZMADecompressor(memlimit=_XZ_BYTES),
    "bzip2": bz2.BZ2Decompressor,
    "zstd": _zstd,
}


def packing_of(file: BinaryIO) -> Packing | None:
    """How a file is compressed, by its first bytes; None if it is not in a way we can unpack."""
    found = recognise(os.pread(file.fileno(), BEGINNING, 0))
    return found.packing if found else None


class UnpackingError(InvalidArgumentError):
    """A file that cannot be unpacked or is not whole. Its message lacks its name at the start."""


@contextmanager
def named(name: object) -> Iterator[None]:
    """Name the file that the block finds it cannot unpack."""
    try:
        yield
    except UnpackingError as error:
        raise InvalidArgumentError(f"{name} {error.message}", remedy=error.remedy) from error


@contextmanager
def unpacked(
    file: BinaryIO, packing: Packing, goes_on: Callable[[], bool] = lambda: True
) -> Iterator[BinaryIO]:
    """The content of a compressed file, as an open file that is gone at the end of the block.

    ``goes_on`` is asked now and then whether to. Raises ``UnpackingError`` if the file is damaged,
    ``DiskFullError`` if there is no room for what comes out, and ``InterruptedError``.
    """
    with tempfile.TemporaryFile(dir=large_files_dir()) as plain:
        with room_for(f"what is compressed with {packing}"):
            for piece in _pieces(file, packing):
                plain.write(piece)
                if not goes_on():
                    raise InterruptedError
            plain.flush()
        plain.seek(0)
        yield plain


def check_whole(archive: BinaryIO) -> None:
    """Raise ``UnpackingError`` for a tar archive that was cut off: pg_restore reads it for ever."""
    offset = 0
    while (header := os.pread(archive.fileno(), _BLOCK, offset)).strip(b"\0"):
        try:
            size = _member_size(header)
        except ValueError:
            break
        offset += _BLOCK + -(-size // _BLOCK) * _BLOCK
    if len(header) < _BLOCK or header.strip(b"\0"):
        raise UnpackingError("is a tar archive that ends too early", remedy=COPY_AGAIN)


def _member_size(header: bytes) -> int:
    field = header[124:136]
    return int.from_bytes(field[1:]) if field[0] == 0x80 else int(field.strip(b" \0"), 8)


@contextmanager
def room_for(what: str) -> Iterator[None]:
    """Raise ``DiskFullError`` if the block finds no room for large temporary files."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(
            f"{what} does not fit into {large_files_dir()}",
            remedy="make room there, or set TMPDIR to another directory for the engine",
        ) from error


def large_files_dir() -> str:
    """Where temporary files are that may become large: ``/tmp`` may be in memory."""
    for variable in ("TMPDIR", "TEMP", "TMP"):
        if os.environ.get(variable):
            return tempfile.gettempdir()
    return "/var/tmp" if Path("/var/tmp").is_dir() else tempfile.gettempdir()  # noqa: S108


def _pieces(file: BinaryIO, packing: Packing) -> Iterator[bytes]:
    file.seek(0)
    unpacking = _gzip(file) if packing == "gzip" else _members(file, _DECOMPRESSORS[packing])
    while True:
        try:
            piece = next(unpacking, None)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstd.ZstdError) as error:
            raise UnpackingError(
                f"cannot be unpacked with {packing}: {error}",
                remedy=f"{COPY_AGAIN}, or unpack it yourself",
            ) from error
        if piece is None:
            return
        yield piece


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file, mode="rb") as stream:
        while piece := stream.read(_PIECE):
            yield piece


def _members(file: BinaryIO, make: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """What one or more streams in a row hold."""
    data, begun = file.read(_PIECE), False
    while data:
        one, begun = make(), True
        while not one.eof:
            if one.needs_input and not data and not (data := file.read(_PIECE)):
                raise EOFError("it ends too early")
            piece = one.decompress(data if one.needs_input else b"", _PIECE)
            data = b""
            if piece:
                yield piece
        # Between and after streams there may be zeros.
        data = (one.unused_data or file.read(_PIECE)).lstrip(b"\0")
        while not data and (more := file.read(_PIECE)):
            data = more.lstrip(b"\0")
    if not begun:
        raise EOFError("it is empty")
