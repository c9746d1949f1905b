"""``engine stop``: stop the engine."""

import json
import os
import signal

from pgstrata.cli.command import Command, Context
from pgstrata.cli.engine_options import STORE, refuse_endpoint
from pgstrata.cli.options import Given
from pgstrata.errors import PgstrataError

ABOUT = """
Asks the engine to stop and waits until it has: running steps complete first, unless they take too
long. Jobs continue when the engine is started again; instances are not touched.
"""

STOP_SECONDS = 30.0


def run(context: Context, _given: Given) -> int:
    """Stop the engine if it is running."""
    refuse_endpoint(context)
    from pgstrata.client import discovery

    found = discovery.find(context.configuration.engine_json)
    if found is not None:
        found.engine.close()
        stop(found.file.pid, context.configuration.timeout or STOP_SECONDS)
    if context.json:
        print(json.dumps({"stopped": found is not None}))
    else:
        print("stopped" if found is not None else "the engine is not running")
    return 0


def stop(pid: int, seconds: float) -> None:
    """Stop an engine and return once its process has exited. Raises ``PgstrataError``."""
    from pgstrata.client import discovery

    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise PgstrataError(
            f"the engine (pid {pid}) belongs to another user", remedy="stop it as that user"
        ) from error
    if not discovery.wait_exit(pid, seconds):
        raise PgstrataError(
            f"the engine (pid {pid}) is still running after {seconds:.0f} s",
            remedy="`pgstrata engine logs` shows what it is doing",
        )


COMMAND = Command(
    usage="engine stop [OPTIONS]",
    about=ABOUT,
    options=(STORE,),
    examples=("pgstrata engine stop",),
    run=run,
    wordless=True,
)
