"""From a configuration to an engine that answers: one named, one found, or one started."""

from pgstrata.api.jobs import JobAccepted
from pgstrata.client import discovery
from pgstrata.client.engine import Engine
from pgstrata.client.http import Http, parse_endpoint
from pgstrata.config import keys
from pgstrata.config.model import Configuration
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import EngineStoppingError, InvalidArgumentError

_STOPPING_SECONDS = 60.0
"""How long to wait for the end of an engine that is about to."""


def connect(configuration: Configuration) -> Engine:
    """The engine to talk to, started if there is none.

    A configured endpoint is taken at its word: that engine is some one else's to start. Raises
    ``PgstrataError`` when the engine does not start.
    """
    if configuration.endpoint is not None:
        return _named(configuration, configuration.endpoint)
    found = discovery.find(configuration.engine_json, configuration.timeout)
    return (found or start(configuration)).engine


def submit(
    configuration: Configuration, engine: Engine, request: PrepareRequest
) -> tuple[Engine, JobAccepted]:
    """Hand in a prepare request: to the next engine, if the one there is about to end.

    Returns the engine that has the job, and what it answered. Raises ``PgstrataError``.
    """
    stopping = discovery.read(configuration.engine_json)
    try:
        return engine, engine.submit(request)
    except EngineStoppingError:
        if configuration.endpoint is not None or stopping is None:
            raise
    engine.close()
    discovery.wait_exit(stopping.pid, _STOPPING_SECONDS)
    engine = connect(configuration)
    return engine, engine.submit(request)


def start(configuration: Configuration) -> discovery.Found:
    """Start the engine of the configured store, with the configured settings."""
    from pgstrata.client import start as starting

    arguments = [
        *("--idle-timeout", starting.DEFAULT_IDLE),
        *("--engine-json", str(configuration.engine_json)),
        *serve_options(configuration),
    ]
    command = starting.serve_command(configuration.store, arguments)
    return starting.start(
        configuration.store, configuration.engine_json, command, timeout=configuration.timeout
    )


def serve_options(configuration: Configuration) -> list[str]:
    """What was said for the engine, as options of ``engine serve``.

    The engine runs in its store's directory, where it does not see the caller's project.
    """
    return [
        word
        for name, value in configuration.engine.items()
        for word in ("--set", f"{name}={keys.write(name, value)}")
    ]


def _named(configuration: Configuration, endpoint: str) -> Engine:
    if configuration.token is None:
        raise InvalidArgumentError(
            f"there is no token for the engine at {endpoint}",
            remedy="set PGSTRATA_TOKEN to the authToken in that engine's engine.json",
        )
    return Engine(Http(parse_endpoint(endpoint), configuration.token, configuration.timeout))
