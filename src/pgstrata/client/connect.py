"""Connects to the engine of a configuration: one that is configured, found or started."""

from pgstrata.api.jobs import JobAccepted
from pgstrata.client import discovery
from pgstrata.client.engine import Engine
from pgstrata.client.http import Http, parse_endpoint
from pgstrata.config import keys
from pgstrata.config.model import Configuration
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import EngineStoppingError, InvalidArgumentError

STOPPING_SECONDS = 60.0
"""How long to wait for the exit of an engine that is stopping."""


def connect(configuration: Configuration) -> Engine:
    """The engine to talk to, started if there is none.

    The engine at a configured endpoint is neither checked nor started. Raises ``PgstrataError`` if
    the engine does not start.
    """
    if configuration.endpoint is not None:
        return _configured(configuration, configuration.endpoint)
    found = discovery.find(configuration.engine_json, configuration.timeout)
    return (found or start(configuration)).engine


def submit(
    configuration: Configuration, engine: Engine, request: PrepareRequest
) -> tuple[Engine, JobAccepted]:
    """Submit a prepare request; to the next engine, if the current one is stopping.

    Returns the engine that has the job, and its response. Raises ``PgstrataError``.
    """
    stopping = discovery.read(configuration.engine_json)
    try:
        return engine, engine.submit(request)
    except EngineStoppingError:
        if configuration.endpoint is not None or stopping is None:
            raise
    engine.close()
    discovery.wait_exit(stopping.pid, STOPPING_SECONDS)
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
    """The settings given for the engine, as options of ``engine serve``.

    Those that belong to requests travel with them, since an engine serves many projects. The engine
    runs in its store's directory, so it does not read the caller's project files.
    """
    return [
        word
        for name, value in configuration.of_engine.items()
        for word in ("--default", f"{name}={keys.write(name, value)}")
    ]


def _configured(configuration: Configuration, endpoint: str) -> Engine:
    if configuration.token is None:
        raise InvalidArgumentError(
            f"there is no token for the engine at {endpoint}",
            remedy="set PGSTRATA_TOKEN to the authToken in that engine's engine.json",
        )
    return Engine(Http(parse_endpoint(endpoint), configuration.token, configuration.timeout))
