"""How much memory the machine has left."""

from pathlib import Path

import psutil

_AVAILABLE = b"MemAvailable:"


def available_memory() -> int:
    """Bytes that programs can still get without swapping.

    It is asked for several times a second, and psutil reads all that the kernel says of memory
    each time, which takes a millisecond.
    """
    try:
        with Path("/proc/meminfo").open("rb") as lines:
            for line in lines:
                if line.startswith(_AVAILABLE):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # another system than Linux
    return int(psutil.virtual_memory().available)
