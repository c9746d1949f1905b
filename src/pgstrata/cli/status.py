"""``status``: the engine and what it works with."""

import json
from collections.abc import Iterator

from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given
from pgstrata.cli.text import age, one_line
from pgstrata.client.http import Json

ABOUT = "Shows the engine, its store, the PostgreSQL it found and how snapshots are taken."


def run(context: Context, _given: Given) -> int:
    """Ask and show."""
    engine = context.engine()
    status = engine.status()
    if context.json:
        print(json.dumps(status))
    else:
        print("\n".join(one_line(line) for line in _lines(status, engine.endpoint)))
    return 0


def _lines(status: Json, endpoint: str) -> Iterator[str]:
    about, runtime, snapshots = status["engine"], status["runtime"], status["snapshots"]
    yield f"engine      {about['version']} at {about.get('endpoint', endpoint)}"
    yield f"            pid {about['pid']}, up {age(about['startedAt'])}"
    yield f"store       {status['store']['path']}"
    yield f"snapshots   {snapshots['backend']}"
    yield from (f"            {reason}" for reason in snapshots["why"].splitlines())
    yield f"servers     run as {runtime['server_user'] or 'the user of the engine'}"
    yield from _installations(runtime["installations"])
    if "counts" in status:
        yield from _counts(status["counts"])


def _installations(found: list[Json]) -> Iterator[str]:
    if not found:
        yield "postgresql  none was found; install one, or pgstrata[postgres]"
    for number, installation in enumerate(found):
        label = "postgresql" if number == 0 else ""
        problem = f"  unusable: {installation['problem']}" if "problem" in installation else ""
        place = f"{installation['bin_dir']} ({installation['source']})"
        yield f"{label:<10}  {installation['version']:<6} {place}{problem}"


def _counts(counts: Json) -> Iterator[str]:
    yield f"kept        {counts['states']} states, {counts['instances']} instances"
    jobs = (f"{counts[f'jobs_{how}']} {how}" for how in ("queued", "running", "finished"))
    yield f"jobs        {', '.join(jobs)}"


COMMAND = Command(
    usage="status",
    about=ABOUT,
    options=(),
    examples=("pgstrata status", "pgstrata --output json status"),
    run=run,
)
