"""``config schema``: the JSON Schema of the engine's settings."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given

ABOUT = """
Prints the JSON Schema of the engine's settings: what each takes, its default, its meaning, and
whether a change takes effect only when the engine is started again (x-restart). An editor can
check `.pgstrata/config.yaml` with it.
"""


def run(context: Context, _given: Given) -> int:
    """Print the schema."""
    print_document(context.engine().config_schema())
    return 0


COMMAND = Command(
    usage="config schema",
    about=ABOUT,
    options=(),
    examples=("pgstrata config schema",),
    run=run,
    wordless=True,
)
