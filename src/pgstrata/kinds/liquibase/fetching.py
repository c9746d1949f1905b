"""Gets Liquibase's jars, from the npm registry or from a directory."""

import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pgstrata.fetching import npm
from pgstrata.fetching.download import Artifact, Progress, fetch, silent
from pgstrata.fetching.drafts import draft
from pgstrata.kinds.liquibase.installation import NEEDED, USEFUL, own_jars

PACKAGE = "liquibase"
VERSION = "4.28.1"
"""The package's version, which contains Liquibase 4.28.0; later ones contain no jars."""
ARCHIVE = Artifact(
    name=npm.archive_name(PACKAGE, VERSION),
    integrity="sha512-"
    "UZCRA3wWYd57mt/fWkYZCpgOGrPWX/C6UGMd4uDCKxWA46Y6170Xq/YWDzMffNTKB61aMNkHCxvXrx/Ps5XINg==",
    size=120_444_285,
)

_JARS = "package/dist/liquibase/internal/lib/"


def from_registry(home: Path, env: Mapping[str, str], progress: Progress = silent) -> None:
    """Fetch the pinned package and keep the jars that are needed in ``home``.

    Raises ``ProgramError`` if it cannot be fetched or is not the expected one.
    """
    url = npm.registry(env) + npm.archive(PACKAGE, VERSION)
    with draft(home) as made, tempfile.TemporaryDirectory() as temporary:
        _unpack(fetch(ARCHIVE, url, Path(temporary), progress=progress), made)
        own_jars(made)


def from_directory(home: Path, source: Path) -> None:
    """Copy the jars that are needed from a directory. Raises ``ProgramError``."""
    jars = own_jars(source)
    with draft(home) as made:
        for jar in jars:
            shutil.copyfile(jar, made / jar.name)


def _unpack(archive: Path, made: Path) -> None:
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.removeprefix(_JARS)
            if not member.isfile() or name.removesuffix(".jar") not in (*NEEDED, *USEFUL):
                continue
            content = package.extractfile(member)
            assert content is not None
            with content, (made / name).open("wb") as file:
                shutil.copyfileobj(content, file)
