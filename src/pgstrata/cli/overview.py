"""Help for all of the command line, and for the commands of a group."""

from collections.abc import Mapping

from pgstrata.cli import command_table
from pgstrata.cli.command import Command, option_lines
from pgstrata.cli.options import HELP, setting_option
from pgstrata.config.keys import OWN
from pgstrata.kinds.plugin import Option

OPTIONS = (
    Option(("--profile",), "use the settings of this profile", "NAME"),
    setting_option(OWN["endpoint"]),
    setting_option(OWN["store"]),
    Option(("--output",), "the format of stdout: human (default) or json", "FORM"),
    setting_option(OWN["timeout"]),
    Option(("-v", "--verbose"), "show the output of the tools as they run"),
    HELP,
    Option(("--version",), "show the version"),
)

EXAMPLES = (
    "pgstrata demo",
    "pgstrata prepare:psql -- -f schema.sql -f seed.sql",
    'pgstrata run:psql -- -c "select version()"',
    "pgstrata ls --all",
    "pgstrata prepare:psql --help",
)


def options_anywhere(command: Command) -> tuple[Option, ...]:
    """The options of all commands as they may stand after this one, before a tool's arguments.

    A letter is the tool's, and some words are.
    """
    own = {flag for option in command.options for flag in option.flags} | {*command.flags_of_tool}
    return tuple(
        Option((option.name,) if command.passes_on else option.flags, option.about, option.metavar)
        for option in OPTIONS
        if option.name not in (HELP.name, "--version") and own.isdisjoint(option.flags)
    )


def overview() -> str:
    """Format the help for all of the command line."""
    return "\n".join(
        [
            "usage: pgstrata [OPTIONS] COMMAND …",
            "",
            "Throw-away PostgreSQL databases, prepared once and cloned in milliseconds.",
            *("", "commands:", *_listed(command_table.overview())),
            *("", "options of every command, before it or after it:", *option_lines(OPTIONS)),
            *("", "examples:", *(f"  {example}" for example in EXAMPLES)),
            *("", "`pgstrata help COMMAND` shows the options of one."),
            *("", "exit codes: 0 done, 1 the job failed, 2 wrong usage, 3 the engine failed or"),
            "cannot be reached, 4 refused by a safety rule; of `run`, the tool's own",
        ]
    )


def group_help(group: str) -> str:
    """Format the help for the commands whose first word this is."""
    members = {
        name: summary
        for name, summary in command_table.overview().items()
        if name.startswith(f"{group} ")
    }
    return "\n".join(
        [
            f"usage: pgstrata {group} COMMAND …",
            *("", "commands:", *_listed(members)),
            *("", f"`pgstrata help {group} COMMAND` shows the options of one."),
        ]
    )


def _listed(commands: Mapping[str, str]) -> list[str]:
    width = max(map(len, commands))
    return [f"  {name:<{width}}  {summary}" for name, summary in commands.items()]
