"""``engine start``: start the engine in the background."""

import json
from contextlib import closing

from pgstrata.cli.command import Command, Context
from pgstrata.cli.engine_options import STORE, refuse_endpoint
from pgstrata.cli.options import Given

ABOUT = """
Starts the engine unless it is running, waits until it answers and prints its address. It stops by
itself after half an hour without a request.
"""


def run(context: Context, _given: Given) -> int:
    """Start the engine unless it is running."""
    refuse_endpoint(context)
    from pgstrata.client import connect, discovery

    configuration = context.configuration
    found = discovery.find(configuration.engine_json, configuration.timeout)
    running = found or connect.start(configuration)
    with closing(running.engine):
        if found is not None:
            context.warn_of_differences(found.engine)
    if context.json:
        about = {"endpoint": running.file.endpoint, "pid": running.file.pid}
        print(json.dumps({**about, "started": found is None}))
    else:
        print(f"{running.file.endpoint}  pid {running.file.pid}", end="")
        print("" if found is None else "  (already running)")
    return 0


COMMAND = Command(
    usage="engine start [OPTIONS]",
    about=ABOUT,
    options=(STORE,),
    examples=("pgstrata engine start", "pgstrata engine start --store /srv/pgstrata"),
    run=run,
    wordless=True,
)
