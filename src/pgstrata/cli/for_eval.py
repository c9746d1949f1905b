"""What a command that should print ``DSN=…`` prints if it fails, for ``eval "$(pgstrata …)"``.

Of ``$(…)`` a shell sees only the output, and of ``eval`` only how its last command ended: without
any output it goes on as if all were well, and psql takes an empty DSN for the machine's own server.
"""

import sys
from collections.abc import Sequence

from pgstrata.cli.report import abandon

LINE = "false; DSN=postgresql://prepare-failed.invalid/; false"
"""Nobody has a host of this name, so no client takes it for another server. It does not begin like
the line of a command that succeeded, for those who look for that."""

_COMMANDS = ("prepare", "watch", "reset", "start")
_TOOLS = ("run", "run:psql", "run:pgbench", "run:exec")


def concerns(word: str) -> bool:
    """Whether this is a command that should print ``DSN=…``."""
    return word.startswith("prepare:") or word in _COMMANDS


def stop(words: Sequence[str], *, as_json: bool) -> None:
    """Print a line that makes ``eval`` fail, and what uses the DSN all the same.

    ``words`` are a command and its arguments. Nothing is printed for other commands, nor where the
    output is a tool's, a JSON document or for a person.
    """
    if as_json or sys.stdout.isatty() or any(word in _TOOLS for word in words):
        return
    if words and concerns(words[0]):
        try:
            print(LINE, flush=True)
        except OSError:
            # Nobody reads it, as where the terminal is gone. Nor must it be tried again at exit.
            abandon(sys.stdout)
