"""``engine status``: show whether the engine runs, without starting it."""

from contextlib import closing
from typing import Any

from pgstrata.cli.ages import age
from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.engine_options import STORE, refuse_endpoint
from pgstrata.cli.options import Given

ABOUT = """
Shows whether the engine runs, where, and how its servers are kept apart. The exit code is 0 if it
runs, 3 if not.
"""

NOT_RUNNING = 3


def run(context: Context, _given: Given) -> int:
    """Find the engine, and show it."""
    refuse_endpoint(context)
    from pgstrata.client import discovery

    store = context.configuration.store
    found = discovery.find(context.configuration.engine_json)
    about: dict[str, Any] = {"running": found is not None, "store": str(store)}
    if found is not None:
        with closing(found.engine) as engine:
            sandbox = engine.status().sandbox
            context.warn_of_differences(engine)
        about["endpoint"], about["pid"] = found.file.endpoint, found.file.pid
        about["version"], about["startedAt"] = found.file.version, found.file.started_at
        about["sandbox"] = None if sandbox is None else sandbox.level
    if context.json:
        print_document(about)
    else:
        print("\n".join(_lines(about)))
    return 0 if found is not None else NOT_RUNNING


def _lines(about: dict[str, Any]) -> list[str]:
    if not about["running"]:
        return ["the engine is not running", f"store     {about['store']}"]
    return [
        f"endpoint  {about['endpoint']}",
        f"pid       {about['pid']}",
        f"version   {about['version']}",
        f"up        {age(about['startedAt'])}",
        f"store     {about['store']}",
        f"sandbox   {about['sandbox'] or 'none'}",
    ]


COMMAND = Command(
    usage="engine status [OPTIONS]",
    about=ABOUT,
    options=(STORE,),
    examples=("pgstrata engine status", "pgstrata --output json engine status"),
    run=run,
    wordless=True,
)
