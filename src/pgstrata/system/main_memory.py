"""How much memory the machine has left."""

import os
import re

import psutil

_AVAILABLE = re.compile(rb"^MemAvailable: +(\d+) kB$", re.MULTILINE)

_BYTES = 4096
"""More than the kernel says."""


def available_memory() -> int:
    """Bytes that programs can still get without swapping.

    It is asked for at each start and several times a second, and psutil takes a millisecond.
    """
    try:
        descriptor = os.open("/proc/meminfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return int(psutil.virtual_memory().available)  # another system than Linux
    try:
        found = _AVAILABLE.search(os.read(descriptor, _BYTES))
    finally:
        os.close(descriptor)
    return int(found[1]) * 1024 if found else int(psutil.virtual_memory().available)
