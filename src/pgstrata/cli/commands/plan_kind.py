"""``plan:NAME`` for every kind: show what ``prepare:NAME`` would do."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.preparing import plan
from pgstrata.cli.recipe import PLAN_OPTIONS, request_of
from pgstrata.kinds.plugin import KindPlugin


def command_of(plugin: KindPlugin) -> Command:
    """Make the command that plans with this kind."""
    line = plugin.command_line

    def run(context: Context, given: Given) -> int:
        return plan(context, request_of(plugin, context, given))

    return Command(
        usage=f"plan:{plugin.name} [OPTIONS] [--] {line.words}",
        about=line.plan.about,
        options=(*PLAN_OPTIONS, *line.options),
        examples=line.plan.examples,
        run=run,
        passes_on=True,
    )
