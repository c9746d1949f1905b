"""``engine serve``: run the engine in the foreground."""

import gc
from pathlib import Path

from pgstrata.cli.command import Command, Context
from pgstrata.cli.engine_options import STORE
from pgstrata.cli.options import Given
from pgstrata.cli.setting_options import engine_options, engine_settings
from pgstrata.domain import durations
from pgstrata.kinds.plugin import Option

ABOUT = """
Runs the engine until it is told to stop or, with --idle-timeout, has been idle for that long. Told
to stop (SIGTERM, Ctrl+C), it accepts no more jobs and lets running steps complete; told again, it
stops at once. Instances outlive it, and unfinished jobs continue with the next engine. Other
commands start it automatically when they need it.
"""

DEFAULT_LISTEN = ("127.0.0.1", 0)
_NEVER = ("0", "never")
_HIGHEST_PORT = 65535


def run(context: Context, given: Given) -> int:
    """Run the engine; returns when it has stopped."""
    listen = given.read("--listen", listen_address) or DEFAULT_LISTEN
    idle_timeout = given.read("--idle-timeout", _idle)
    engine_json = given.last("--engine-json")
    options, defaults = engine_settings(given, context.work_dir)
    # Of what is made while it is imported nothing is garbage; looking takes a sixth of that time.
    gc.disable()
    from pgstrata.engine.configuration import EngineConfiguration
    from pgstrata.engine.process import serve

    return serve(
        store=context.configuration.store,
        configuration=EngineConfiguration(
            context.configuration.store.absolute(),
            options=options,
            defaults={**context.configuration.engine, **defaults},
        ),
        listen=listen,
        engine_json=context.work_dir / Path(engine_json)
        if engine_json
        else context.configuration.engine_json,
        idle_timeout=idle_timeout,
        insecure=given.has("--insecure-listen"),
    )


def listen_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` or ``[HOST]:PORT``. Raises ``ValueError``."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
        raise ValueError(f'"{text}" is not HOST:PORT, such as 127.0.0.1:8700')
    return host, int(port)


def _idle(text: str) -> durations.Seconds | None:
    return None if text in _NEVER else durations.parse_positive(text)


COMMAND = Command(
    usage="engine serve [OPTIONS]",
    about=ABOUT,
    options=(
        STORE,
        Option(("--listen",), "where to listen; default: a free port on 127.0.0.1", "HOST:PORT"),
        Option(("--insecure-listen",), "listen elsewhere than on loopback without TLS"),
        Option(("--engine-json",), "the discovery file; default: engine.json in the store", "PATH"),
        Option(("--idle-timeout",), "stop after this long without work; default: never", "TIME"),
        *engine_options(),
    ),
    examples=(
        "pgstrata engine serve",
        "pgstrata engine serve --store /srv/pgstrata --listen 127.0.0.1:8700",
        "pgstrata engine serve --snapshot-backend btrfs --server-setting shared_buffers=64MB",
        "pgstrata engine serve --set cache.capacity.maxBytes=20GB",
        "pgstrata engine serve --listen 0.0.0.0:8700 --tls-cert cert.pem --tls-key key.pem",
    ),
    run=run,
    wordless=True,
)
