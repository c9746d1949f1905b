"""``prepare:NAME`` for every kind: build what is not cached, and start an instance."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import WATCH_OPTIONS, prepare
from pgstrata.cli.recipe import INSTANCE_OPTIONS, PLAN_OPTIONS, request_of
from pgstrata.kinds.plugin import KindPlugin


def command_of(plugin: KindPlugin) -> Command:
    """Make the command that prepares with this kind."""
    line = plugin.command_line

    def run(context: Context, given: Given) -> int:
        if any(word.startswith("run:") for word in given.words):
            from pgstrata.cli import composite

            if wanted := composite.split(given):
                return composite.run(context, plugin, wanted)
        return prepare(context, given, request_of(plugin, context, given))

    return Command(
        usage=f"prepare:{plugin.name} [OPTIONS] [--] {line.words}",
        about=line.prepare.about,
        options=(*PLAN_OPTIONS, *line.options, *INSTANCE_OPTIONS, *WATCH_OPTIONS),
        examples=line.prepare.examples,
        run=run,
        passes_on=True,
    )
