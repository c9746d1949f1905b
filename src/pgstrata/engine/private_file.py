"""Files that only the engine's user may read."""

import os
from pathlib import Path

from pgstrata.system import faults


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only we may read; it appears complete or not at all."""
    # The name is always the same, so that a killed engine's draft is overwritten.
    draft = file.with_name(f".{file.name}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with faults.step("private_file.write"), os.fdopen(descriptor, "wb") as stream:
        # A draft that was there may have had another mode.
        os.fchmod(descriptor, 0o600)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    with faults.step("private_file.rename"):
        draft.replace(file)
