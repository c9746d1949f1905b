"""The engine's process, and the order in which it starts and stops.

Start: the store is created and locked, the parts are put together, jobs continue from what is on
disk, the port accepts requests, and only then ``engine.json`` is written. Stop: no more jobs are
accepted and running steps reach their state; then the file is removed, the port is closed, and
what still runs is cancelled. Instances stay.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
import uuid
from pathlib import Path

from pgstrata import __version__
from pgstrata.api.discovery import EngineFile
from pgstrata.domain.model import utc_now
from pgstrata.engine.assembly import assemble
from pgstrata.engine.configuration import EngineConfiguration
from pgstrata.engine.discovery_file import announce
from pgstrata.engine.endpoint import HttpServer, address_of, bind_port
from pgstrata.engine.exposure import certificate, check_listening, on_loopback
from pgstrata.engine.store_directory import hold_store
from pgstrata.httpapi.app import create_app
from pgstrata.statefs import detect
from pgstrata.statefs.store_image import StoreImage
from pgstrata.system import faults, open_files

_log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.001
"""How long a thread that reads scripts may keep the interpreter from the one that serves requests.

A response needs the interpreter several times, and Python's default of 5 ms adds up.
"""


def serve(
    *,
    store: Path,
    configuration: EngineConfiguration,
    listen: tuple[str, int],
    engine_json: Path,
    idle_timeout: float | None,
    insecure: bool = False,
) -> int:
    """Run an engine in the foreground until it is told to stop. Returns the exit code.

    ``idle_timeout``: seconds without jobs and requests after which it stops by itself.
    ``insecure``: allow listening without TLS where other machines can connect. Raises
    ``PgstrataError`` if it cannot start.
    """
    settings = configuration.settings
    _let_others_hear()
    sys.setswitchinterval(SWITCH_SECONDS)
    open_files.raise_limit()
    faults.arm_from(os.environ)
    StoreImage(store).attach()
    # Before any thread is started.
    mounts = detect.enter_namespace(store.absolute(), settings.snapshot.backend)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    asyncio.run(
        _serve(
            store.absolute(),
            configuration=configuration,
            listen=listen,
            engine_json=engine_json.absolute(),
            idle_timeout=idle_timeout,
            insecure=insecure,
            mounts=mounts,
        )
    )
    return 0


def _let_others_hear() -> None:
    """Keep programs that we start from ignoring signals that we were started to ignore.

    A shell starts background programs that way, and children inherit ignored signals, but not
    caught ones: a PostgreSQL that is told to stop before it has set up its own handlers would miss
    the signal, and only be killed ten seconds later.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


async def _serve(
    root: Path,
    *,
    configuration: EngineConfiguration,
    listen: tuple[str, int],
    engine_json: Path,
    idle_timeout: float | None,
    insecure: bool,
    mounts: str,
) -> None:
    shown = certificate(configuration.settings.engine)
    with hold_store(root), contextlib.closing(bind_port(*listen)) as port:
        check_listening(port, safe=insecure or shown is not None)
        if shown is None and not on_loopback(port):
            _log.warning("requests, and the token with them, travel unencrypted")
        configuration.decide("engine.allowPrograms", on_loopback(port))
        settings = configuration.settings
        file = EngineFile(
            endpoint=f"{'http' if shown is None else 'https'}://{address_of(port)}",
            pid=os.getpid(),
            started_at=utc_now(),
            auth_token=secrets.token_urlsafe(32),
            version=__version__,
            instance_id=uuid.uuid4().hex,
            certificate=shown and shown.pem,
        )
        async with assemble(root, configuration, file, mounts) as (service, coordinator):
            server = HttpServer(
                create_app(service, file.auth_token, hosts=(listen[0], *settings.engine.hosts)),
                announce=announce(engine_json, file),
                busy=lambda: coordinator.busy,
                drain=lambda: coordinator.drain(
                    configuration.settings.orchestrator.jobs.drain_timeout
                ),
                idle_timeout=idle_timeout,
                certificate=shown,
            )
            # What there is by now stays, and the collector keeps everybody waiting to look at it.
            gc.freeze()
            gc.enable()
            await server.serve(sockets=[port])
    _log.info("engine stopped")
