"""The npm registry that this machine is set to use."""

import asyncio
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from pgstrata.system import subprocesses

_PUBLIC = "https://registry.npmjs.org/"
_REGISTRY = re.compile(r"^\s*registry\s*=\s*(\S+)", re.MULTILINE)


def registry(env: Mapping[str, str]) -> str:
    """The registry's URL, with a slash at its end. Not to be called where a loop runs."""
    found = (
        env.get("NPM_CONFIG_REGISTRY")
        or env.get("npm_config_registry")
        or asyncio.run(_asked_npm(env))
        or _configured(env)
        or _PUBLIC
    )
    return found.rstrip("/") + "/"


def archive(package: str, version: str) -> str:
    """Where a package's archive is, below any registry."""
    return f"{package}/-/{archive_name(package, version)}"


def archive_name(package: str, version: str) -> str:
    """What a package's archive is called; a scope is no part of that."""
    return f"{package.rpartition('/')[2]}-{version}.tgz"


async def _asked_npm(env: Mapping[str, str]) -> str | None:
    npm = shutil.which("npm", path=env.get("PATH"))
    if npm is None:
        return None
    ended = await subprocesses.run([npm, "config", "get", "registry"], env=env, check=False)
    said = ended.stdout.strip()
    return said if ended.exit_code == 0 and said.startswith("http") else None


def _configured(env: Mapping[str, str]) -> str | None:
    """What ``.npmrc`` files say, for machines without npm itself."""
    homes = [Path(env["HOME"]) / ".npmrc"] if env.get("HOME") else []
    for path in (*homes, Path("/etc/npmrc")):
        if path.is_file():
            found = _REGISTRY.search(path.read_text("utf-8", "replace"))
            if found:
                return found[1].strip()
    return None
