"""Liquibase's exceptions as errors for people: the cause in one line, its own messages below."""

import re
from collections.abc import Sequence

from pgstrata.errors import InvalidArgumentError, StepFailedError

_MISSING_CLASS = re.compile(r"(?:ClassNotFoundException|NoClassDefFoundError): ([\w.$/]+)")
_MISSING_FILE = "not found in the configured search path"
_WRAPPING = re.compile(r"^(?:[\w.]+\.)?\w*(?:Exception|Error): ")
_NO_SCHEMA_FOR_HISTORY = re.compile(
    r'schema ".*" does not exist.*CREATE TABLE .*DATEEXECUTED', re.DOTALL
)
_MAX_LINE = 300


def invalid_changelog(changelog: str, messages: Sequence[str]) -> InvalidArgumentError:
    """The error for a changelog that Liquibase cannot read, or finds invalid."""
    return InvalidArgumentError(
        f"{changelog}: {_cause(messages)}",
        remedy=_remedy(messages) or "correct the changelog",
        details=_whole(messages),
    )


def step_failure(
    title: str, messages: Sequence[str], details: str | None = None
) -> StepFailedError:
    """The error for a changeset that failed: Java's messages, the innermost last.

    ``details`` is the whole output, if there is more than the messages.
    """
    return StepFailedError(
        f"{title}: {_cause(messages)}",
        remedy=_remedy(messages) or "correct the changeset and prepare again",
        details=_whole(messages) if details is None else details or None,
    )


def _cause(messages: Sequence[str]) -> str:
    """The first line of the innermost message, which names the original cause."""
    if missing := _missing_class(messages):
        return f"there is no class {missing}"
    for message in reversed(messages):
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        if lines:
            line = _WRAPPING.sub("", lines[0])
            if line.endswith(":") and len(lines) > 1:
                line = f"{line} {lines[1]}"
            return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 1] + "…"
    return "Liquibase failed without an error message"


def _remedy(messages: Sequence[str]) -> str | None:
    if _missing_class(messages):
        return "add the jar that contains it to liquibase.jars in the engine's configuration"
    if any(_MISSING_FILE in message for message in messages):
        return "correct its name, or add its directory to the search path: --search-path=DIR"
    if any(_NO_SCHEMA_FOR_HISTORY.search(message) for message in messages):
        return (
            "the schema of the history must exist before the first changeset: name another one "
            "with --liquibase-schema-name=public"
        )
    return None


def _missing_class(messages: Sequence[str]) -> str | None:
    for message in messages:
        if found := _MISSING_CLASS.search(message):
            return found[1].replace("/", ".")
    return None


def _whole(messages: Sequence[str]) -> str:
    """Every message that is not contained in an earlier one."""
    kept: list[str] = []
    for message in messages:
        if not any(message in earlier for earlier in kept):
            kept.append(message)
    return "\n".join(kept)
