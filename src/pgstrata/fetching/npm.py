"""The npm registry that this machine is configured to use."""

import asyncio
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from pgstrata.system import subprocesses

_PUBLIC = "https://registry.npmjs.org/"
_REGISTRY = re.compile(r"^\s*registry\s*=\s*(\S+)", re.MULTILINE)


def registry(env: Mapping[str, str]) -> str:
    """The registry's URL, with a slash at its end. Must not be called in an event loop."""
    found = (
        env.get("NPM_CONFIG_REGISTRY")
        or env.get("npm_config_registry")
        or asyncio.run(_from_npm(env))
        or _from_files(env)
        or _PUBLIC
    )
    return found.rstrip("/") + "/"


def archive(package: str, version: str) -> str:
    """The path of a package's archive in any registry."""
    return f"{package}/-/{archive_name(package, version)}"


def archive_name(package: str, version: str) -> str:
    """The file name of a package's archive, which does not include its scope."""
    return f"{package.rpartition('/')[2]}-{version}.tgz"


async def _from_npm(env: Mapping[str, str]) -> str | None:
    npm = shutil.which("npm", path=env.get("PATH"))
    if npm is None:
        return None
    ended = await subprocesses.run([npm, "config", "get", "registry"], env=env, check=False)
    url = ended.stdout.strip()
    return url if ended.exit_code == 0 and url.startswith("http") else None


def _from_files(env: Mapping[str, str]) -> str | None:
    """The registry in ``.npmrc`` files, for machines without npm itself."""
    homes = [Path(env["HOME"]) / ".npmrc"] if env.get("HOME") else []
    for path in (*homes, Path("/etc/npmrc")):
        if path.is_file():
            found = _REGISTRY.search(path.read_text("utf-8", "replace"))
            if found:
                return found[1].strip()
    return None
