"""Which capabilities this process has: a container may withhold any of them from its root."""

from pathlib import Path
from typing import Final, Literal

Capability = Literal[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
]

_BITS: Final[dict[Capability, int]] = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_ADMIN": 21,
}
"""Numbers of the kernel's include/uapi/linux/capability.h."""


def lacking(*wanted: Capability) -> tuple[Capability, ...]:
    """Those of the capabilities that this process lacks; none if that is not known."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return ()
    words = status.partition("CapEff:")[2].split()
    held = int(words[0], 16) if words else ~0
    return tuple(one for one in wanted if not held >> _BITS[one] & 1)
