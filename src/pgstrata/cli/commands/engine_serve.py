"""``engine serve``: the engine, in the foreground."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgstrata.cli.command import Command, Context
from pgstrata.cli.engine_options import STORE
from pgstrata.cli.options import Given, Option
from pgstrata.client_errors import engine_errors_translated
from pgstrata.config import durations
from pgstrata.config.keys import ENGINE_FIELDS, KEYS, Value
from pgstrata.config.model import Configuration

if TYPE_CHECKING:
    from pgstrata.settings import Settings

ABOUT = """
Runs the engine until it is told to stop or, with --idle-timeout, has had nothing to do for that
long. Told to stop (SIGTERM, Ctrl+C), it takes no more jobs and lets steps that run reach their
state; told again, it ends at once. Instances outlive it, and jobs that are not at their end go on
with the next engine. Other commands start it by themselves when they need it.
"""

DEFAULT_LISTEN = ("127.0.0.1", 0)
_NEVER = ("0", "never")
_HIGHEST_PORT = 65535


def run(context: Context, given: Given) -> int:
    """Serve; returns when the engine has ended."""
    listen = given.read("--listen", listen_address) or DEFAULT_LISTEN
    idle_timeout = given.read("--idle-timeout", _idle)
    engine_json = given.last("--engine-json")
    with engine_errors_translated():
        settings = _settings(context.configuration, given)
        from pgstrata.engine.process import serve

        return serve(
            store=context.configuration.store,
            settings=settings,
            listen=listen,
            engine_json=context.work_dir / Path(engine_json)
            if engine_json
            else context.configuration.engine_json,
            idle_timeout=idle_timeout,
        )


def listen_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[HOST]:PORT``. Raises ``ValueError``."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
        raise ValueError(f'"{text}" is not HOST:PORT, such as 127.0.0.1:8700')
    return host, int(port)


def _idle(text: str) -> float | None:
    return None if text in _NEVER else float(durations.parse_positive(text))


def _settings(configuration: Configuration, given: Given) -> "Settings":
    """The engine's settings: options before configuration, its own where neither says."""
    server_settings = {
        **configuration.server_settings,
        **dict(given.read_every("--server-setting", _assignment)),
    }
    others = {**configuration.engine, **dict(given.read_every("--set", _engine_setting))}
    chosen: dict[str, Any] = {
        **{ENGINE_FIELDS[key]: value for key, value in others.items()},
        "snapshot_backend": _option(given, "--snapshot-backend", "snapshot.backend")
        or configuration.snapshot_backend,
        "consistency": _option(given, "--snapshot-consistency", "snapshot.consistency")
        or configuration.snapshot_consistency,
        "server_user": given.last("--server-user") or configuration.server_user,
        "max_parallel_jobs": _option(given, "--max-parallel", "orchestrator.jobs.maxParallel")
        or configuration.max_parallel,
        "max_identical_jobs": _identical(configuration, given),
        "job_timeout_seconds": _option(given, "--job-timeout", "orchestrator.jobs.timeout")
        or configuration.job_timeout,
        "drain_seconds": _option(given, "--drain-timeout", "orchestrator.jobs.drainTimeout")
        or configuration.drain_timeout,
    }
    present = {name: value for name, value in chosen.items() if value is not None}
    from pgstrata.settings import LiquibaseSettings, Settings

    places = configuration.liquibase
    liquibase = LiquibaseSettings(
        home=_first(places.get("home")),
        jars=places.get("jars", ()),
        java=_first(places.get("java")),
        exec=_first(places.get("exec")),
    )
    return Settings(server_settings=server_settings, liquibase=liquibase, **present)


def _first(paths: tuple[Path, ...] | None) -> Path | None:
    return paths[0] if paths else None


def _option(given: Given, option: str, key: str) -> Value | None:
    """An option that says the same as a configuration key, checked as that is."""
    return given.read(option, KEYS[key])


def _identical(configuration: Configuration, given: Given) -> Value | None:
    kept = _option(given, "--max-identical", "orchestrator.jobs.maxIdentical")
    return configuration.max_identical if kept is None else kept


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f'"{text}" is not name=value')
    return name, value


def _engine_setting(text: str) -> tuple[str, Value]:
    key, value = _assignment(text)
    if key not in ENGINE_FIELDS:
        raise ValueError(f"there is no setting {key}; there are: {', '.join(ENGINE_FIELDS)}")
    try:
        return key, KEYS[key](value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


COMMAND = Command(
    usage="engine serve [OPTIONS]",
    about=ABOUT,
    options=(
        STORE,
        Option(("--listen",), "where to listen; default: a free port on 127.0.0.1", "HOST:PORT"),
        Option(("--engine-json",), "the discovery file; default: engine.json in the store", "PATH"),
        Option(("--idle-timeout",), "end after this long without work; never by default", "TIME"),
        Option(("--snapshot-backend",), "auto (default), btrfs, overlay, reflink or copy", "NAME"),
        Option(("--snapshot-consistency",), "auto (default), clean or crash", "HOW"),
        Option(("--server-user",), "run PostgreSQL as this user, when the engine is root", "USER"),
        Option(("--server-setting",), "a setting of PostgreSQL's; may be repeated", "NAME=VALUE"),
        Option(("--set",), "any other setting by its key, such as cache.capacity.maxBytes", "K=V"),
        Option(("--max-parallel",), "how many jobs may run at once", "N"),
        Option(("--max-identical",), "how many finished jobs of a kind are kept; 0: all", "N"),
        Option(("--job-timeout",), "stop any job when it has run for this long", "TIME"),
        Option(("--drain-timeout",), "how long running steps may take at the end: 10s", "TIME"),
    ),
    examples=(
        "pgstrata engine serve",
        "pgstrata engine serve --store /srv/pgstrata --listen 127.0.0.1:8700",
        "pgstrata engine serve --snapshot-backend btrfs --server-setting shared_buffers=64MB",
        "pgstrata engine serve --set cache.capacity.maxBytes=20GB",
    ),
    run=run,
)
