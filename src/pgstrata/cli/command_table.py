"""The commands there are: where each is, so that only the one in use is imported."""

from importlib import import_module
from typing import NamedTuple

from pgstrata.cli.command import Command


class Entry(NamedTuple):
    """A command's module, which defines ``COMMAND``, and one line for the overview."""

    module: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "prepare:psql": Entry("prepare_psql", "make a database from SQL scripts, or reuse one"),
    "plan:psql": Entry("plan_psql", "show the steps, and which are cached; change nothing"),
    "prepare:lb": Entry("prepare_lb", "make a database from a Liquibase changelog, or reuse one"),
    "plan:lb": Entry("plan_lb", "show a changelog's steps, and which are cached"),
    "watch": Entry("watch", "follow a job that runs in the engine"),
    "ls": Entry("ls", "list names and instances, states, jobs, tasks"),
    "pin": Entry("pin", "keep a state from being evicted"),
    "unpin": Entry("unpin", "allow it to be evicted again"),
    "rm": Entry("rm", "remove an instance, a state or a job"),
    "status": Entry("status", "show the engine, its PostgreSQL and its snapshots"),
    "cache verify": Entry("cache_verify", "check every state, and remove what cannot be used"),
    "engine serve": Entry("engine_serve", "run the engine in the foreground"),
    "engine start": Entry("engine_start", "start the engine in the background"),
    "engine stop": Entry("engine_stop", "stop it; instances keep running"),
    "engine status": Entry("engine_status", "show whether it runs, and where"),
    "engine logs": Entry("engine_logs", "show its log"),
    "liquibase install": Entry("liquibase_install", "download Liquibase, which prepare:lb needs"),
    "postgres install": Entry("postgres_install", "download a PostgreSQL with all its extensions"),
    "postgres ls": Entry("postgres_ls", "list every PostgreSQL here, and those to download"),
    "postgres rm": Entry("postgres_rm", "remove one that was downloaded"),
    "demo": Entry("demo", "see it work: an example from plan to query, in a minute"),
}

GROUPS = ("cache", "engine", "liquibase", "postgres")
"""First words that need a second one."""


def load(name: str) -> Command:
    """The command of that name, which must be one of ``COMMANDS``."""
    command = import_module(f"pgstrata.cli.commands.{COMMANDS[name].module}").COMMAND
    assert isinstance(command, Command)
    return command
