"""What Liquibase's command line reads besides its arguments: defaults files and its environment.

Arguments take precedence over the environment, and that over the files, of which
``NAME.local.properties`` takes precedence over ``NAME.properties``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.liquibase import options
from pgstrata.kinds.liquibase.arguments import checked

DEFAULT_NAME = "liquibase.properties"
_PREFIXES = ("liquibase.command.", "liquibase.")
_SCOPES = ("update.", "update-count.", "updateCount.", "update-to-tag.", "updateToTag.")
_SCOPE = re.compile(r"liquibase\.command\.([A-Za-z-]+)\.")
"""The name of the command that an option is for."""
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}

# Variables that would affect Java or the system's loader before Liquibase starts.
_NOT_FOR_JAVA = re.compile(r"_?JAVA_|JDK_JAVA_|CLASSPATH$|LD_|DYLD_|LIQUIBASE_CLASSPATH$")


def of_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The options set by Liquibase's variables. Raises ``InvalidArgumentError``."""
    found: dict[str, str] = {}
    for name, value in env.items():
        if _NOT_FOR_JAVA.match(name):
            raise InvalidArgumentError(
                f"liquibase_env: {name} cannot be set, since it changes Java itself",
                remedy="leave it out",
            )
        short = options.of_variable(name)
        if short is not None and (key := _checked(f"liquibase_env: {name}", short, value)):
            found[key] = value
    return found


def of_text(text: str, where: str) -> tuple[dict[str, str], dict[str, str]]:
    """The options and parameters in a defaults file. Raises ``InvalidArgumentError``."""
    found: dict[str, str] = {}
    parameters: dict[str, str] = {}
    for name, value in properties(text):
        if name.startswith("parameter."):
            parameters[name.removeprefix("parameter.")] = value
            continue
        short = _short(name)
        of_another = (scope := _SCOPE.match(name)) and options.key(scope[1]) not in options.COMMANDS
        if options.key(short) in options.NOT_IN_FILES or of_another or not value:
            continue
        if key := _checked(f"{where}: {name}", short, value):
            found[key] = value
    return found, parameters


def files(given: str | None, work_dir: Path) -> tuple[Path, ...]:
    """The defaults files in ascending precedence; they need not all exist."""
    name = given or DEFAULT_NAME
    path = work_dir / name
    return path, path.with_name(f"{path.stem}.local{path.suffix}")


def properties(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of a Java properties file."""
    for line in _logical_lines(text):
        match = re.match(r"((?:\\.|[^\s:=\\])*)\s*[:=]?\s*(.*)", line, re.DOTALL)
        assert match is not None
        yield _unescaped(match[1]), _unescaped(match[2])


def _logical_lines(text: str) -> Iterator[str]:
    waiting = ""
    for raw in re.split(r"\r\n|\r|\n", text):
        line = raw.lstrip(" \t\f")
        if not waiting and (not line or line[0] in "#!"):
            continue
        backslashes = len(line) - len(line.rstrip("\\"))
        if backslashes % 2:
            waiting += line[:-1]
            continue
        yield waiting + line
        waiting = ""
    if waiting:
        yield waiting


def _unescaped(text: str) -> str:
    def one(match: "re.Match[str]") -> str:
        if match[1]:
            return chr(int(match[1], 16))
        return _ESCAPES.get(match[2], match[2])

    return re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", one, text, flags=re.DOTALL)


def _short(name: str) -> str:
    short = name
    for prefix in _PREFIXES:
        short = short.removeprefix(prefix)
    for scope in _SCOPES:
        short = short.removeprefix(scope)
    return short


def _checked(where: str, name: str, value: str) -> str | None:
    try:
        return checked(name, value)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error.message}", remedy=error.remedy) from None
