"""``snapshot``: keep what is in an instance as a state."""

from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.targets import with_instance
from pgstrata.cli.text import short
from pgstrata.errors import InvalidNameError
from pgstrata.kinds.plugin import Option

ABOUT = """
Keeps everything that is committed in an instance now as a state, to go on from with `--from`, and
prints the state's id. The instance goes on. Nothing can build such a state again, so it is pinned:
it stays until `pgstrata rm` removes it. INSTANCE is its name, or 8 or more characters of its id.
"""


def run(context: Context, given: Given) -> int:
    """Have the state made, and print its id."""
    from pgstrata.domain.name import invalid

    name = given.last("--name")
    if name is not None and (reason := invalid(name)):
        raise InvalidNameError(name, reason)
    engine = context.engine()
    force = given.has("--force")
    state = with_instance(
        engine, "snapshot", given, lambda found: engine.snapshot(found, name=name, force=force)
    )
    if context.json:
        print_document(state)
    else:
        print(f"state {short(state.state_id)}" + ("" if name is None else f" ({name})"))
    return 0


COMMAND = Command(
    usage="snapshot [OPTIONS] INSTANCE",
    about=ABOUT,
    options=(
        Option(("--name",), "give the state a name, which no instance may have", "NAME"),
        Option(
            ("-f", "--force"),
            "even if the server must be stopped for a moment and clients are connected",
        ),
    ),
    examples=(
        "pgstrata snapshot dev --name seeded",
        "pgstrata prepare:psql --from seeded -- -f more.sql",
    ),
    run=run,
)
