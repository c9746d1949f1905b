"""``config set``: change a setting of the engine."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.configuring import show_change, words_of
from pgstrata.cli.options import Given
from pgstrata.config import keys

ABOUT = """
Stores a setting in the engine's configuration, whatever project uses that engine. Most take effect
at once; it says so if one does not. A relative path starts from the working directory.
"""


def run(context: Context, given: Given) -> int:
    """Set one setting."""
    path, text = words_of(given, "PATH", "VALUE")
    if path not in keys.OWN and keys.find(path) is not None:
        # The engine has another working directory.
        text = keys.write(path, keys.read("config set", path, text, context.work_dir))
    change = context.engine().set_config(path, text)
    return show_change(context, change, f"{path} is {change.value}")


COMMAND = Command(
    usage="config set PATH VALUE",
    about=ABOUT,
    options=(),
    examples=(
        "pgstrata config set cache.capacity.maxBytes 20GB",
        "pgstrata config set instances.defaultTtl 2h",
    ),
    run=run,
    empty_words=True,
)
