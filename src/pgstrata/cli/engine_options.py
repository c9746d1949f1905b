"""What the ``engine`` commands have in common."""

from pgstrata.cli.command import Context
from pgstrata.cli.options import Option
from pgstrata.client_errors import UsageError

STORE = Option(("--store",), "the store; default: the configured one", "DIR")


def refuse_endpoint(context: Context) -> None:
    """Raise ``UsageError`` for an engine elsewhere, which is not ours to start or stop."""
    if context.configuration.endpoint is not None:
        raise UsageError(
            f"the engine at {context.configuration.endpoint} is not this machine's to manage",
            remedy="leave the endpoint out, or log in where that engine runs",
        )
