"""All commands and their modules, so that only the one in use is imported.

Those that prepare and plan exist for each kind, which defines what is specific to it.
"""

from importlib import import_module
from typing import Any, NamedTuple

from pgstrata.cli.command import Command


class Entry(NamedTuple):
    """A command's module, which defines ``COMMAND``, and one line for the overview."""

    module: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "prepare": Entry("prepare_alias", "make a database as an alias file says, or reuse one"),
    "plan": Entry("plan_alias", "show the steps of an alias file"),
    "run": Entry("run_alias", "run what an alias file says against an instance"),
    "alias ls": Entry("alias_ls", "list the alias files of the repository"),
    "alias check": Entry("alias_check", "tell all that is wrong with them"),
    "alias create": Entry("alias_create", "write one"),
    "run:psql": Entry("run_psql", "run psql against an instance"),
    "run:pgbench": Entry("run_pgbench", "run pgbench against it"),
    "run:exec": Entry("run_exec", "run any command, with its connection in the environment"),
    "watch": Entry("watch", "follow a job that runs in the engine"),
    "ls": Entry("ls", "list names and instances, states, jobs, tasks"),
    "pin": Entry("pin", "keep a state from being evicted"),
    "unpin": Entry("unpin", "allow it to be evicted again"),
    "warm": Entry("warm", "keep servers ready for a state"),
    "start": Entry("start", "start the server of an instance again"),
    "reset": Entry("reset", "put an instance back to its state"),
    "snapshot": Entry("snapshot", "keep what is in an instance as a state"),
    "diff": Entry("diff", "compare two states or instances"),
    "dsn": Entry("dsn", "print the DSN of an instance"),
    "rm": Entry("rm", "remove an instance, a state or a job"),
    "status": Entry("status", "show the engine, its PostgreSQL and its snapshots"),
    "cache explain": Entry("cache_explain", "say whether a prepare would be a hit, and why"),
    "cache verify": Entry("cache_verify", "check every state, and remove what cannot be used"),
    "config get": Entry("config_get", "show the engine's settings"),
    "config set": Entry("config_set", "change one"),
    "config rm": Entry("config_rm", "remove one, so that its default counts"),
    "config schema": Entry("config_schema", "print their JSON Schema"),
    "engine serve": Entry("engine_serve", "run the engine in the foreground"),
    "engine start": Entry("engine_start", "start the engine in the background"),
    "engine stop": Entry("engine_stop", "stop it; instances keep running"),
    "engine status": Entry("engine_status", "show whether it runs, and where"),
    "engine logs": Entry("engine_logs", "show its log"),
    "liquibase install": Entry("liquibase_install", "download Liquibase, which prepare:lb needs"),
    "store create": Entry("store_create", "make a store on a btrfs of its own, as root"),
    "store resize": Entry("store_resize", "make that larger or smaller"),
    "store rm": Entry("store_rm", "remove it with all that is in it"),
    "postgres install": Entry("postgres_install", "download a PostgreSQL with all its extensions"),
    "postgres ls": Entry("postgres_ls", "list every PostgreSQL here, and those to download"),
    "postgres rm": Entry("postgres_rm", "remove one that was downloaded"),
    "completion": Entry("completion", "print a script that completes words in your shell"),
    "demo": Entry("demo", "see it work: an example from plan to query, in a minute"),
}

GROUPS = ("alias", "cache", "config", "engine", "liquibase", "postgres", "store")
"""First words of commands of two words."""


VERBS = ("prepare", "plan")
"""Each has a command for every kind, ``VERB:KIND``."""


def load(name: str) -> Command | None:
    """Load the command with this name. Raises ``InvalidArgumentError`` if its kind is unusable."""
    verb, colon, kind = name.partition(":")
    if colon and verb in VERBS:
        from pgstrata.kinds import plugins

        plugin = plugins.find(kind)
        return None if plugin is None else _import(f"{verb}_kind").command_of(plugin)
    return _import(COMMANDS[name].module).COMMAND if name in COMMANDS else None


def overview() -> dict[str, str]:
    """Return all commands, those of kinds first, with their lines for the overview."""
    from pgstrata.kinds import plugins

    found: dict[str, str] = {}
    every, broken = plugins.every()
    for kind, plugin in every.items():
        found[f"prepare:{kind}"] = plugin.command_line.prepare.summary
        found[f"plan:{kind}"] = plugin.command_line.plan.summary
    for one in broken:
        found.setdefault(
            f"prepare:{one.name}", f"cannot be used: see `pgstrata prepare:{one.name}`"
        )
    return {**found, **{name: entry.summary for name, entry in COMMANDS.items()}}


def _import(name: str) -> Any:
    return import_module(f"pgstrata.cli.commands.{name}")
