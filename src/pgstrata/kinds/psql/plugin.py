"""The psql kind's description of itself."""

import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Caller, CommandLine, Given, Help

if TYPE_CHECKING:
    from pgstrata.kinds.base import Kind
    from pgstrata.kinds.psql.fields import PsqlFields


def request(given: Given, caller: Caller) -> dict[str, Any]:
    """The request's fields for a psql command line."""
    if not given.words:
        raise InvalidArgumentError(
            "there is nothing to prepare", remedy="name a script: -- -f schema.sql -f seed.sql"
        )
    from pgstrata.kinds.psql import arguments

    _refuse_directory(given.words[0], caller.work_dir)
    fields: dict[str, Any] = {
        "psql_args": list(arguments.absolute(given.words, str(caller.work_dir)))
    }
    if arguments.parse(given.words).needs_stdin:
        fields["stdin"] = caller.stdin()
    return fields


def _refuse_directory(word: str, work_dir: Path) -> None:
    if word.startswith("-") or not (work_dir / word).is_dir():
        return
    scripts = [shlex.quote(str(Path(word, path.name))) for path in (work_dir / word).glob("*.sql")]
    named = " ".join(f"-f {script}" for script in sorted(scripts)[:3]) or "-f FILE"
    raise InvalidArgumentError(
        f"{word} is a directory, and psql runs files",
        remedy=f"name its scripts in the order in which they run: {named} …",
    )


class _Plugin:
    name = "psql"
    section = "psql"
    command_line = CommandLine(
        words="PSQL-ARGS",
        prepare=Help(
            summary="make a database from SQL scripts, or reuse one",
            about="""
Makes a database with psql and prints DSN=… once it accepts connections. Each -f or -c is a step,
and the result of every step is kept: what was built before, with the same content, is cloned in
milliseconds. Arguments after `--`, or from the first that is not an option here, are passed to
psql. A -f may also name a compressed script (gzip, zstd, xz, bzip2), or a dump by pg_dump -Fc, -Ft
or -Fd, which pg_restore restores: its options (--schema, --no-owner, -j, …) stand among psql's.
""",
            examples=(
                "pgstrata prepare:psql -- -f schema.sql -f seed.sql",
                "pgstrata prepare:psql --image postgres:16 --name shop --ttl 2h -- -f schema.sql",
                "pgstrata prepare:psql -v tenant=acme -1 -f schema.sql -c 'analyze'",
                "pg_dump old | pgstrata prepare:psql -- -f -",
                "pgstrata prepare:psql --no-owner -j 4 -f backup.dump",
                "pgstrata prepare:psql --on-error=continue -- -f all-of-a-server.sql",
                'made=$(pgstrata prepare:psql -- -f schema.sql) && eval "$made" && psql "$DSN"',
            ),
        ),
        plan=Help(
            summary="show the steps, and which are cached; change nothing",
            about="""
Reads the scripts and shows their steps: which states are cached and which would be built. Changes
nothing.
""",
            examples=(
                "pgstrata plan:psql -- -f schema.sql -f seed.sql",
                "pgstrata --output json plan:psql -- -f schema.sql",
            ),
        ),
        request=request,
    )

    def settings(self) -> None:
        return None

    def request_fields(self) -> "type[PsqlFields]":
        from pgstrata.kinds.psql.fields import PsqlFields

        return PsqlFields

    @asynccontextmanager
    async def open(self, _settings: Any) -> "AsyncIterator[Kind]":
        from pgstrata.kinds.base import Kind
        from pgstrata.kinds.psql.kind import PsqlRecipe
        from pgstrata.kinds.psql.running import PsqlRunner

        yield Kind(PsqlRecipe(), PsqlRunner())


PLUGIN = _Plugin()
