"""How many file descriptors this process may have, of which each server takes one."""

import os
import resource

from pgstrata.errors import HostLimitError

_MOST = 1 << 16
"""Programs that we start inherit the limit, and some close every number below theirs."""

_SPARE = 128
"""What is left for clients, pipes and files when no further server is started."""


def raise_limit() -> None:
    """Allow this process as many descriptors as its user may have, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def check() -> None:
    """Raise ``HostLimitError`` if there are too few left to start a server."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - before each start: no path of each
    if used > limit - min(_SPARE, limit // 4):
        raise HostLimitError(
            f"the engine has {used} files open and may have {limit}, and each server takes one",
            remedy="remove instances that are not needed (pgstrata ls, pgstrata rm), "
            "or start the engine where more are allowed (ulimit -n, LimitNOFILE=)",
        )
