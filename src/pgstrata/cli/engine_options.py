"""Common parts of the ``engine`` commands."""

from pgstrata.cli.command import Context
from pgstrata.cli.options import setting_option
from pgstrata.config.keys import OWN
from pgstrata.errors import InvalidArgumentError

STORE = setting_option(OWN["store"])


def refuse_endpoint(context: Context) -> None:
    """Raise ``InvalidArgumentError`` for an engine elsewhere, which we cannot start or stop."""
    if context.configuration.endpoint is not None:
        raise InvalidArgumentError(
            f"the engine at {context.configuration.endpoint} does not run on this machine",
            remedy="omit the endpoint, or log in where that engine runs",
        )
