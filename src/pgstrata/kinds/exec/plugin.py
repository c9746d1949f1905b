"""The exec kind's description of itself."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Caller, CommandLine, Given, Help, Option

if TYPE_CHECKING:
    from pgstrata.kinds.base import Kind
    from pgstrata.kinds.exec.fields import ExecFields


def request(given: Given, caller: Caller) -> dict[str, Any]:
    """The request's fields for a command line."""
    if not given.words:
        raise InvalidArgumentError(
            "there is no command to run",
            remedy="write it after --: --input migrations -- alembic upgrade head",
        )
    if given.words[0].startswith("-"):
        raise InvalidArgumentError(
            f"unknown option {given.words[0]}", remedy="--help lists the options"
        )
    if "--" in given.words[1:] and (caller.work_dir / given.words[0]).exists():
        raise InvalidArgumentError(
            f"{given.words[0]} stands where the command should begin",
            remedy="quote patterns, which the shell expands otherwise: --input 'sql/*.sql'",
        )

    def variable(text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        found = value if equals else caller.variable(name)
        if found is None:
            raise ValueError(f'there is no variable "{name}": write {name}=VALUE')
        return name, found

    def paths(option: str) -> list[str]:
        return [str(path) for path in given.read_every(option, caller.work_dir.joinpath)]

    fields: dict[str, Any] = {
        "exec_command": list(given.words),
        "exec_inputs": paths("--input"),
        "exec_read": paths("--read"),
        "exec_env": dict(given.read_every("--env", variable)),
        "exec_network": given.has("--network"),
    }
    if path := caller.variable("PATH"):
        fields["exec_path"] = os.pathsep.join(_absolute(path.split(os.pathsep), caller.work_dir))
    return fields


def _absolute(directories: Iterable[str], work_dir: Path) -> Iterable[str]:
    return (str(work_dir / directory) for directory in directories)


class _Plugin:
    name = "exec"
    section = "exec"
    command_line = CommandLine(
        words="COMMAND [ARGS]",
        prepare=Help(
            summary="make a database with any command, or reuse one",
            about="""
Makes a database with a command and prints DSN=… once it accepts connections. The command finds its
server in PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE, in DATABASE_URL, and in
JDBC_DATABASE_URL, JDBC_DATABASE_USERNAME and JDBC_DATABASE_PASSWORD. Its state is kept, and named
by the command, its inputs and its variables: name with --input everything that it reads. Of the
current directory it sees nothing else, and what it writes is thrown away. Without --input it runs
every time, sees everything and can write. It can connect to nothing but its server without
--network.
""",
            examples=(
                "pgstrata prepare:exec --input alembic.ini --input migrations -- "
                "alembic upgrade head",
                "pgstrata prepare:exec --input package-lock.json --input 'migrations/*.js' "
                "--read node_modules -- npx node-pg-migrate up",
                "pgstrata prepare:exec --input db --env TENANT=acme -- sh db/setup.sh",
                "pgstrata prepare:exec -- ./anything.sh      # every time",
            ),
        ),
        plan=Help(
            summary="show whether a command's result is cached",
            about="""
Reads the inputs of a command and shows whether its state is cached or would be built. Changes
nothing.
""",
            examples=("pgstrata plan:exec --input migrations -- alembic upgrade head",),
        ),
        request=request,
        options=(
            Option(
                ("--input",), "a file, directory or pattern that it reads; may be repeated", "PATH"
            ),
            Option(
                ("--read",), "what it may read besides, whatever the content; repeatable", "PATH"
            ),
            Option(("--env",), "a variable it gets; may be repeated", "NAME[=VALUE]"),
            Option(("--network",), "let it connect to others than its server"),
        ),
    )

    def settings(self) -> None:
        return None

    def request_fields(self) -> "type[ExecFields]":
        from pgstrata.kinds.exec.fields import ExecFields

        return ExecFields

    @asynccontextmanager
    async def open(self, _settings: Any) -> "AsyncIterator[Kind]":
        from pgstrata.kinds.base import Kind
        from pgstrata.kinds.exec.kind import ExecRecipe, ExecRunner

        yield Kind(ExecRecipe(), ExecRunner())


PLUGIN = _Plugin()
