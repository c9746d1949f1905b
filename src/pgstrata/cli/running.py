"""Running a tool against an instance, as the caller: which instance, and the tool's environment."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from pgstrata.cli import standard_input
from pgstrata.cli.command import Context
from pgstrata.cli.options import Given
from pgstrata.errors import InvalidArgumentError, ToolMissingError
from pgstrata.kinds.plugin import Option
from pgstrata.run import connection_flags
from pgstrata.system import environment

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine
    from pgstrata.domain.run import StartedInstance

INSTANCE = Option(
    (connection_flags.OWN_OPTION,),
    "the instance: its id, 8 or more characters of it, or its name; may be omitted if there is one",
    "ID|NAME",
)

REF = Option(
    ("--ref",),
    "run it in a private copy of this git revision, removed afterwards, and not in the directory",
    "REV",
)

OPTIONS = (INSTANCE, REF)

_OF_LIBPQ = re.compile("PG(?!STRATA_)[A-Z]+")


class Tool(NamedTuple):
    """What is to be run, once it is known where."""

    name: str | None
    """psql or pgbench, of the instance's PostgreSQL; None for a command of the caller's."""
    words: tuple[str, ...]
    """Its arguments, or the whole command."""
    directory: Path | None = None
    """Where it is run; None for the caller's own directory."""
    stays: bool = True
    """Whether there is nothing to do after it, so that this process can become it."""

    def check_input(self) -> None:
        """Raise ``InvalidArgumentError`` if psql is to read a script where there is none."""
        if self.name == "psql" and connection_flags.reads_input(self.words):
            standard_input.check_not_empty()

    def enter(self) -> dict[str, str]:
        """Go to where it is run. Returns what that changes in its environment."""
        if self.directory is None:
            return {}
        os.chdir(self.directory)
        return {"PWD": str(self.directory)}


def tool_of(name: str | None, given: Given) -> Tool:
    """The tool and its arguments. Raises ``InvalidArgumentError`` if they are refused."""
    if name is not None:
        connection_flags.check(name, given.words)
    elif not given.words or not given.words[0]:
        raise InvalidArgumentError(
            "there is no command to run", remedy="write it after --: run:exec -- pytest"
        )
    elif given.words[0].startswith("-"):
        raise InvalidArgumentError(
            f"unknown option {given.words[0]}", remedy="--help lists the options"
        )
    return Tool(name, given.words)


def at_revision(context: Context, given: Given, tool: Tool) -> Tool:
    """The tool, with the files of the revision that was chosen, if one was.

    Raises ``InvalidArgumentError``.
    """
    if (ref := given.last(REF.name)) is None:
        return tool
    from pgstrata.cli import revision

    return revision.with_files_of(context, ref, tool)


def run(context: Context, given: Given, tool: Tool) -> int:
    """Become the tool, connected to the instance that was chosen."""
    from pgstrata.system import foreground

    refuse_json(context)
    tool.check_input()
    tool = at_revision(context, given, tool)
    chosen = given.last(INSTANCE.name)
    engine = context.engine()
    started = engine.start(chosen or _only(engine))
    say_restarted(started)
    sys.stdout.flush()
    sys.stderr.flush()
    argv, env = argv_of(tool, started), env_of(started) | tool.enter()
    return foreground.become(argv, env) if tool.stays else foreground.run(argv, env)


def refuse_json(context: Context) -> None:
    """Raise ``InvalidArgumentError`` if stdout, which is the tool's, should be JSON."""
    if context.json:
        raise InvalidArgumentError(
            "--output json is not for run, whose output is the tool's",
            remedy="omit it, or have psql format its rows: --csv, or json_agg in the query",
        )


def say_restarted(started: "StartedInstance") -> None:
    """Say so if the server was started again."""
    from pgstrata.domain.run import restarted

    if started.restarted:
        print(restarted(started.instance_id[:12]), file=sys.stderr)


def argv_of(tool: Tool, started: "StartedInstance") -> tuple[str, ...]:
    """The command line. Raises ``ToolMissingError``."""
    if tool.name is None:
        return tool.words
    program = started.programs / tool.name
    if not os.access(program, os.X_OK):
        raise ToolMissingError(
            f"there is no {program}",
            remedy="install the client programs of that PostgreSQL, or use an image of "
            "`pgstrata postgres install`; with an engine elsewhere, use `run:exec`",
        )
    return (str(program), *tool.words)


def env_of(started: "StartedInstance") -> dict[str, str]:
    """The caller's environment, in which all of libpq's variables are about the instance."""
    given = environment.all_given()
    kept = {name: value for name, value in given.items() if not _OF_LIBPQ.fullmatch(name)}
    parts = urlsplit(started.dsn)
    return kept | {
        # The caller's own programs come first.
        "PATH": os.pathsep.join(filter(None, (kept.get("PATH"), str(started.programs)))),
        "DATABASE_URL": started.dsn,
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
    }


def _only(engine: "Engine") -> str:
    """The only instance. Raises ``InvalidArgumentError`` if there is none, or several."""
    found = engine.instances()
    living = [entry for entry in found if entry.status == "active"] or found
    if len(living) == 1:
        return living[0].instance_id
    if not living:
        raise InvalidArgumentError(
            "there is no instance to run it against",
            remedy="prepare one: pgstrata prepare:psql -- -f schema.sql",
        )
    raise InvalidArgumentError(
        f"there are {len(living)} instances",
        remedy=f"choose one before the tool's arguments: {INSTANCE.name} ID|NAME",
        details="\n".join(
            " ".join(filter(None, (entry.instance_id[:12], entry.name))) for entry in living
        ),
    )
