"""``status``: the engine and what it works with."""

import json
from collections.abc import Iterator, Mapping

from pgstrata.cli.ages import age
from pgstrata.cli.command import Command, Context
from pgstrata.cli.options import Given, Option
from pgstrata.cli.text import one_line
from pgstrata.client.http import Json
from pgstrata.domain.sizes import rounded

ABOUT = """
Shows the engine, its store, the PostgreSQL it found and how snapshots are taken. With --cache:
how much room states take and may take, what could go if more is wanted, and what went last.
"""

_REASONS: Mapping[str, str] = {
    "usage_above_high_watermark": "it holds more than its high watermark",
    "free_below_reserve": "less of the disk is free than should be",
}


def run(context: Context, given: Given) -> int:
    """Ask and show."""
    engine = context.engine()
    if given.has("--cache"):
        status = engine.cache_status()
        lines = _cache_lines(status)
    else:
        status = engine.status()
        lines = _lines(status, engine.endpoint)
    if context.json:
        print(json.dumps(status))
    else:
        print("\n".join(one_line(line) for line in lines))
    return 0


def _lines(status: Json, endpoint: str) -> Iterator[str]:
    about, runtime, snapshots = status["engine"], status["runtime"], status["snapshots"]
    yield f"engine      {about['version']} at {about.get('endpoint', endpoint)}"
    yield f"            pid {about['pid']}, up {age(about['startedAt'])}"
    yield f"store       {status['store']['path']}"
    yield f"snapshots   {snapshots['backend']}"
    yield from (f"            {reason}" for reason in snapshots["why"].splitlines())
    if "mounts" in snapshots:
        yield f"mounts      {snapshots['mounts']}"
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


def _cache_lines(cache: Json) -> Iterator[str]:
    most = cache["effective_max_bytes"]
    part = f" ({cache['usage_bytes'] / most:.0%})" if most else ""
    yield f"states      {cache['state_count']}, which hold {rounded(cache['usage_bytes'])} alone"
    yield f"limit       {rounded(most)}{part}{_from(cache)}"
    yield (
        f"            above {cache['high_watermark']:.0%} states go until "
        f"{cache['low_watermark']:.0%} is left, none younger than {cache['min_state_age']}"
    )
    free, total = rounded(cache["store_free_bytes"]), rounded(cache["store_total_bytes"])
    yield f"disk        {free} of {total} free; {rounded(cache['reserve_bytes'])} are to stay so"
    blocked = _states(cache["blocked_count"])
    yield f"can go      {rounded(cache['reclaimable_bytes'])}; not now: {blocked}"
    for reason in cache["pressure_reasons"]:
        yield f"pressure    {_REASONS.get(reason, reason)}"
    if "last_eviction" in cache:
        yield from _eviction(cache["last_eviction"])


def _from(cache: Json) -> str:
    configured = cache.get("configured_max_bytes")
    if configured is None:
        return ", as large as the disk suggests"
    return "" if configured == cache["effective_max_bytes"] else f", {rounded(configured)} wanted"


def _states(count: int) -> str:
    return "1 state" if count == 1 else f"{count} states"


def _eviction(last: Json) -> Iterator[str]:
    when = last["trigger"].replace("_", " ")
    yield (
        f"evicted     {_states(last['evicted_count'])}, {rounded(last['freed_bytes'])}, "
        f"{age(last['completed_at'])} ago, {when}"
    )


COMMAND = Command(
    usage="status [--cache]",
    about=ABOUT,
    options=(Option(("--cache",), "how full the cache is"),),
    examples=("pgstrata status", "pgstrata status --cache", "pgstrata --output json status"),
    run=run,
)
