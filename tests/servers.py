"""What a test, unlike the rest of the engine, knows of a server: what its handle holds."""

from pathlib import Path

import msgspec

from pgstrata.domain.instance import Server


def data_dir_of(server: Server) -> Path:
    """Where a server of the native runtime or of that in memory works."""
    return Path(msgspec.json.decode(server.handle)["data_dir"])


def pid_of(server: Server) -> int:
    """Its process."""
    return int(server.runtime_id)
