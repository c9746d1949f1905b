"""What the ``engine`` commands have in common."""

from pgstrata.cli.command import Context
from pgstrata.cli.options import setting_option
from pgstrata.client_errors import UsageError
from pgstrata.config.keys import OWN

STORE = setting_option(OWN["store"])


def refuse_endpoint(context: Context) -> None:
    """Raise ``UsageError`` for an engine elsewhere, which is not ours to start or stop."""
    if context.configuration.endpoint is not None:
        raise UsageError(
            f"the engine at {context.configuration.endpoint} is not this machine's to manage",
            remedy="leave the endpoint out, or log in where that engine runs",
        )
