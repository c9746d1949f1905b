"""The machine that something was measured on."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psutil


def facts() -> dict[str, str]:
    """What a reader of figures wants to know about where they come from."""
    memory = psutil.virtual_memory().total / 2**30
    python = platform.python_version()
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "machine": f"{os.cpu_count()} x {_processor()}, {memory:.0f} GiB",
        "system": f"{_distribution()}, Linux {platform.release()}, Python {python}",
        "load before": load,
        "user": "root" if os.geteuid() == 0 else "an ordinary one",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _commit() -> str:
    here = Path(__file__).parent
    ended = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True
    )
    return ended.stdout.strip() or "unknown"
