"""From a configuration to an engine that answers: one named, one found, or one started."""

from collections.abc import Mapping

from pgstrata.client import discovery
from pgstrata.client.engine import Engine
from pgstrata.client.http import Http, Json, parse_endpoint
from pgstrata.client_errors import EngineStoppingError, UsageError
from pgstrata.config.model import Configuration

_STOPPING_SECONDS = 60.0
"""How long to wait for the end of an engine that is about to."""


def connect(configuration: Configuration) -> Engine:
    """The engine to talk to, started if there is none.

    A configured endpoint is taken at its word: that engine is some one else's to start. Raises
    ``ClientError`` when the engine does not start.
    """
    if configuration.endpoint is not None:
        return _named(configuration, configuration.endpoint)
    found = discovery.find(configuration.engine_json, configuration.timeout)
    return (found or start(configuration)).engine


def submit(configuration: Configuration, engine: Engine, request: Json) -> tuple[Engine, Json]:
    """Hand in a prepare request: to the next engine, if the one there is about to end.

    Returns the engine that has the job, and what it answered. Raises ``ClientError``.
    """
    stopping = discovery.read(configuration.engine_json)
    try:
        return engine, engine.submit(request)
    except EngineStoppingError:
        if configuration.endpoint is not None or stopping is None:
            raise
    engine.close()
    discovery.gone(stopping.pid, _STOPPING_SECONDS)
    engine = connect(configuration)
    return engine, engine.submit(request)


def start(configuration: Configuration) -> discovery.Found:
    """Start the engine of the configured store, with the configured settings."""
    from pgstrata.client import start as starting

    arguments = [
        *("--idle-timeout", starting.DEFAULT_IDLE),
        *("--engine-json", str(configuration.engine_json)),
        *_settings(configuration),
    ]
    command = starting.serve_command(configuration.store, arguments)
    return starting.start(
        configuration.store, configuration.engine_json, command, timeout=configuration.timeout
    )


def _named(configuration: Configuration, endpoint: str) -> Engine:
    if configuration.token is None:
        raise UsageError(
            f"there is no token for the engine at {endpoint}",
            remedy="set PGSTRATA_TOKEN to the authToken in that engine's engine.json",
        )
    return Engine(Http(parse_endpoint(endpoint), configuration.token, configuration.timeout))


def _settings(configuration: Configuration) -> list[str]:
    """The configured settings as options of ``engine serve``.

    The engine runs in its store's directory, where it does not see the caller's project.
    """
    single = {
        "--snapshot-backend": configuration.snapshot_backend,
        "--snapshot-consistency": configuration.snapshot_consistency,
        "--server-user": configuration.server_user,
        "--max-parallel": configuration.max_parallel,
        "--max-identical": configuration.max_identical,
        "--job-timeout": configuration.job_timeout,
        "--drain-timeout": configuration.drain_timeout,
    }
    words = [word for flag, value in single.items() if value is not None for word in (flag, value)]
    return [
        *map(str, words),
        *_assignments("--server-setting", configuration.server_settings),
        *_assignments("--set", configuration.engine),
    ]


def _assignments(option: str, values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (option, f"{name}={value}")]
