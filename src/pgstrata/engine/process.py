"""The engine's process, and the order of its start and end.

Start: the store is made and locked, the parts are put together, jobs go on from what is on disk,
the port answers, and only then ``engine.json`` says so. End: no more jobs are taken and steps that
run reach their state; then the file goes, then the port, then what still runs; instances stay.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import uuid
from pathlib import Path

from pgstrata import __version__
from pgstrata.api.discovery import EngineFile
from pgstrata.cache import capacity
from pgstrata.domain.model import utc_now
from pgstrata.engine.assembly import assemble
from pgstrata.engine.discovery_file import announce
from pgstrata.engine.endpoint import HttpServer, address_of, bind_port
from pgstrata.engine.store_directory import hold_store
from pgstrata.httpapi.app import create_app
from pgstrata.settings import Settings
from pgstrata.statefs import detect
from pgstrata.system import faults

_log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.001
"""How long a thread that reads scripts keeps the interpreter from the one that answers requests.

An answer takes several turns of that one, and Python's own 5 ms add up.
"""


def serve(
    *,
    store: Path,
    settings: Settings,
    listen: tuple[str, int],
    engine_json: Path,
    idle_timeout: float | None,
) -> int:
    """Run an engine in the foreground until it is told to stop; the process's exit code.

    ``idle_timeout``: seconds without a job and a request after which it ends by itself. Raises
    ``PgstrataError`` when it cannot start.
    """
    capacity.check(settings.cache.capacity)
    _let_others_hear()
    sys.setswitchinterval(SWITCH_SECONDS)
    faults.arm_from(os.environ)
    # Before any thread is made.
    mounts = detect.enter_namespace(store.absolute(), settings.snapshot.backend)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    asyncio.run(
        _serve(
            store.absolute(),
            settings=settings,
            listen=listen,
            engine_json=engine_json.absolute(),
            idle_timeout=idle_timeout,
            mounts=mounts,
        )
    )
    return 0


def _let_others_hear() -> None:
    """Have the programs we start hear signals that we were started to ignore.

    A shell starts what it runs in the background that way, and a program inherits what is ignored,
    not what is caught: a PostgreSQL that is told to stop before it has said what it listens to
    would miss it, and take ten seconds to be killed.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


async def _serve(
    root: Path,
    *,
    settings: Settings,
    listen: tuple[str, int],
    engine_json: Path,
    idle_timeout: float | None,
    mounts: str,
) -> None:
    with hold_store(root), contextlib.closing(bind_port(*listen)) as port:
        file = EngineFile(
            endpoint=f"http://{address_of(port)}",
            pid=os.getpid(),
            started_at=utc_now(),
            auth_token=secrets.token_urlsafe(32),
            version=__version__,
            instance_id=uuid.uuid4().hex,
        )
        async with assemble(root, settings, file, mounts) as (service, coordinator):
            server = HttpServer(
                create_app(service, file.auth_token),
                announce=announce(engine_json, file),
                busy=lambda: coordinator.busy,
                drain=lambda: coordinator.drain(settings.orchestrator.jobs.drain_timeout),
                idle_timeout=idle_timeout,
            )
            await server.serve(sockets=[port])
    _log.info("engine stopped")
