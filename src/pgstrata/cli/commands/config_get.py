"""``config get``: what is set in the engine's configuration, or in effect."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.configuring import show
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.plugin import Option

ABOUT = """
Shows the engine's own settings: those that `config set` has stored or, with --effective, what the
engine works by, with defaults and the options it was started with. PATH is a setting, such as
cache.capacity.maxBytes, or what several are in, such as cache.
"""


def run(context: Context, given: Given) -> int:
    """Print one setting, those below a path, or all."""
    if len(given.words) > 1:
        raise InvalidArgumentError("config get takes one PATH", remedy="leave the others out")
    if "" in given.words:
        # A variable that was not set, perhaps.
        raise InvalidArgumentError("PATH is empty", remedy="omit it to see all settings")
    path = given.words[0] if given.words else None
    value = context.engine().config(path, effective=given.has("--effective"))
    if context.json:
        print_document(value if path is None else {"path": path, "value": value})
    else:
        show(path or "", value)
    return 0


COMMAND = Command(
    usage="config get [--effective] [PATH]",
    about=ABOUT,
    options=(Option(("--effective",), "what is in effect, with defaults and options"),),
    examples=(
        "pgstrata config get",
        "pgstrata config get --effective cache.capacity",
        "pgstrata --output json config get --effective",
    ),
    run=run,
)
