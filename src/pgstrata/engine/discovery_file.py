"""``engine.json``, which tells clients where the engine is and contains their token.

It exists only while the engine accepts requests.
"""

import contextlib
import logging
from collections.abc import Iterator
from contextlib import (
    contextmanager,
)
from pathlib import Path

import msgspec

from pgstrata.api.discovery import EngineFile
from pgstrata.engine.private_file import write_private
from pgstrata.errors import (
    PgstrataError,
)
from pgstrata.system import faults

_log = logging.getLogger(__name__)


@contextmanager
def announce(engine_json: Path, file: EngineFile) -> Iterator[None]:
    """Tell clients where the engine is for as long as the block runs."""
    try:
        engine_json.parent.mkdir(parents=True, exist_ok=True)
        write_private(engine_json, msgspec.json.encode(file) + b"\n")
    except OSError as error:
        raise PgstrataError(
            f"cannot write the discovery file {engine_json}: {error.strerror}",
            remedy="choose a writable file: --engine-json PATH",
        ) from error
    _log.info("engine %s answers at %s, pid %d", file.version, file.endpoint, file.pid)
    try:
        yield
    finally:
        # If another engine has replaced the file meanwhile, it stays.
        with contextlib.suppress(OSError, msgspec.DecodeError):
            current = msgspec.json.decode(engine_json.read_bytes(), type=EngineFile)
            if current.instance_id == file.instance_id:
                with faults.step("engine_json.remove"):
                    engine_json.unlink()
