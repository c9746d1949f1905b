"""``config rm``: remove a setting from the engine's configuration."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.configuring import show_change, words_of
from pgstrata.cli.options import Given

ABOUT = """
Removes a setting that `config set` has stored, or all that are in PATH, so that the defaults count
again.
"""


def run(context: Context, given: Given) -> int:
    """Remove what is stored below a path."""
    (path,) = words_of(given, "PATH")
    return show_change(context, context.engine().remove_config(path), f"{path} is no longer set")


COMMAND = Command(
    usage="config rm PATH",
    about=ABOUT,
    options=(),
    examples=("pgstrata config rm cache.capacity.maxBytes", "pgstrata config rm cache"),
    run=run,
)
