"""The Liquibase kind's description of itself."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Caller, CommandLine, Given, Help, Option

if TYPE_CHECKING:
    from pgstrata.kinds.base import Kind
    from pgstrata.kinds.liquibase.fields import LiquibaseFields
    from pgstrata.runtime.base import Companions
    from pgstrata.settings import LiquibaseSettings


def request(given: Given, caller: Caller) -> dict[str, Any]:
    """The request's fields for a Liquibase command line."""
    if not given.words:
        raise InvalidArgumentError(
            "there is nothing to prepare",
            remedy="name a changelog: -- update --changelog-file=changelog.xml",
        )
    from pgstrata.kinds.liquibase import arguments

    arguments.parse(given.words)
    fields: dict[str, Any] = {
        "liquibase_args": list(arguments.absolute(given.words, str(caller.work_dir))),
        "liquibase_env": dict(given.read_every("--env", _variable)),
    }
    if program := given.last("--liquibase-exec"):
        fields["liquibase_exec"] = str(caller.work_dir / program)
    if mode := given.last("--liquibase-exec-mode"):
        fields["liquibase_exec_mode"] = mode
    return fields


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f'"{text}" is not name=value')
    return name, value


class _Plugin:
    name = "lb"
    section = "liquibase"
    command_line = CommandLine(
        words="LIQUIBASE-ARGS",
        prepare=Help(
            summary="make a database from a Liquibase changelog, or reuse one",
            about="""
Makes a database with Liquibase and prints DSN=… once it accepts connections. Each changeset that
would run is a step, and the result of every step is kept: adding one changeset builds one more
step. Arguments after `--`, or from the first that is not an option here, are passed to Liquibase:
update, update-count or update-to-tag with --changelog-file, --contexts, --labels, --search-path,
--defaults-file and -Dname=value. Liquibase itself comes with `pgstrata liquibase install`.
""",
            examples=(
                "pgstrata prepare:lb -- update --changelog-file=db/changelog.xml",
                "pgstrata prepare:lb --name shop -- update --changelog-file=master.xml "
                "--contexts=test",
                "pgstrata prepare:lb -- update-to-tag --tag=v2 --changelog-file=changelog.sql",
                "pgstrata prepare:lb -- update --search-path=src/main/resources "
                "--changelog-file=config/liquibase/master.xml",
            ),
        ),
        plan=Help(
            summary="show a changelog's steps, and which are cached",
            about="""
Reads the changelog and shows the changesets that would run: which states are cached and which would
be built. Changes nothing.
""",
            examples=(
                "pgstrata plan:lb -- update --changelog-file=db/changelog.xml",
                "pgstrata --output json plan:lb -- update --changelog-file=db/changelog.xml",
            ),
        ),
        request=request,
        options=(
            Option(("--env",), "a variable for the changelog; may be repeated", "NAME=VALUE"),
            Option(("--liquibase-exec",), "call this Liquibase for each step; slow", "PATH"),
            Option(("--liquibase-exec-mode",), "how to call it: native", "MODE"),
        ),
    )

    def settings(self) -> "type[LiquibaseSettings]":
        from pgstrata.settings import LiquibaseSettings

        return LiquibaseSettings

    def request_fields(self) -> "type[LiquibaseFields]":
        from pgstrata.kinds.liquibase.fields import LiquibaseFields

        return LiquibaseFields

    def open(self, settings: "LiquibaseSettings") -> "AbstractAsyncContextManager[Kind]":
        return self.open_with(settings, None)

    @asynccontextmanager
    async def open_with(
        self, settings: "LiquibaseSettings", companions: "Companions | None"
    ) -> "AsyncIterator[Kind]":
        from pgstrata.kinds.base import Kind
        from pgstrata.kinds.liquibase.kind import LiquibaseKind

        kind = LiquibaseKind(settings, companions=companions)
        try:
            yield Kind(kind, kind)
        finally:
            await kind.close()


PLUGIN = _Plugin()
