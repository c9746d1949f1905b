"""``status``: show the engine, its PostgreSQL and its snapshots, or the cache."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pgstrata.cli.ages import age
from pgstrata.cli.command import Command, Context
from pgstrata.cli.document import print_document
from pgstrata.cli.options import Given
from pgstrata.cli.text import equipment, one_line
from pgstrata.domain.sizes import rounded
from pgstrata.kinds.plugin import Option

if TYPE_CHECKING:
    from pgstrata.domain.cache import CacheStatus, Eviction
    from pgstrata.domain.image import Installation
    from pgstrata.domain.listing import Counts, EngineStatus, SandboxStatus

ABOUT = """
Shows the engine, its store, the PostgreSQL it found and how snapshots are taken. With --cache: how
much space states use and may use, what can be evicted, and what was evicted last.
"""

_REASONS: Mapping[str, str] = {
    "usage_above_high_watermark": "the cache is above its high watermark",
    "free_below_reserve": "less of the disk is free than is reserved",
}


_LEVELS: Mapping[str, str] = {
    "strict": "each server is kept from everything else, and from the network",
    "basic": "each server is kept from everything else but the network",
    "partial": "servers are kept from the engine, but not from each other",
    "off": "servers can do whatever the engine's user can",
}


def run(context: Context, given: Given) -> int:
    """Show the status."""
    engine = context.asked_engine()
    status: CacheStatus | EngineStatus
    if given.has("--cache"):
        status = cache = engine.cache_status()
        lines = _cache_lines(cache)
    else:
        status = about = engine.status()
        lines = _lines(about, engine.endpoint)
    if context.json:
        print_document(status)
    else:
        print("\n".join(one_line(line) for line in lines))
    return 0


def _lines(status: "EngineStatus", endpoint: str) -> Iterator[str]:
    about, snapshots = status.engine, status.snapshots
    yield f"engine      {about.version} at {about.endpoint or endpoint}"
    yield f"            pid {about.pid}, up {age(about.started_at)}"
    yield f"store       {status.store.path}"
    if status.store.image is not None:
        held, size = status.store.image_held_bytes, status.store.image_bytes
        yield f"            a btrfs in {status.store.image}: {rounded(size)}, takes {rounded(held)}"
    yield f"snapshots   taken by {snapshots.backend}"
    yield from (f"            {reason}" for reason in snapshots.why.splitlines())
    if snapshots.advice is not None:
        yield f"            {snapshots.advice}"
    if snapshots.mounts is not None:
        yield f"mounts      {snapshots.mounts}"
    yield f"servers     run as {status.runtime.server_user or 'the user of the engine'}"
    if status.sandbox is not None:
        yield from _sandbox(status.sandbox)
    yield from _installations(status.runtime.installations)
    yield from _counts(status.counts)
    if (pool := status.pool) is not None and pool.max:
        yield f"warm        {pool.ready} of {pool.wanted} wanted servers wait; at most {pool.max}"


def _sandbox(sandbox: "SandboxStatus") -> Iterator[str]:
    meaning = _LEVELS.get(sandbox.level)
    yield f"sandbox     {sandbox.level}{f': {meaning}' if meaning else ''}"
    yield from (f"            missing: {one}" for one in sandbox.missing)
    yield from (f"            their users can {one}" for one in sandbox.open_attacks)


def _installations(found: "Sequence[Installation]") -> Iterator[str]:
    if not found:
        yield "postgresql  none found; `pgstrata postgres install 18` installs one"
    for number, installation in enumerate(found):
        label = "postgresql" if number == 0 else ""
        location = f"{installation.bin_dir} ({installation.source})"
        if installation.problem is not None:
            state = f"unusable: {installation.problem}"
        else:
            state = equipment(installation.extensions, installation.lacks)
        yield f"{label:<10}  {installation.version:<6} {location}  {state}"


def _counts(counts: "Counts") -> Iterator[str]:
    yield f"kept        {_count(counts.states, 'state')}, {_count(counts.instances, 'instance')}"
    yield (
        f"jobs        {counts.jobs_queued} queued, {counts.jobs_running} running, "
        f"{counts.jobs_finished} finished"
    )


def _cache_lines(cache: "CacheStatus") -> Iterator[str]:
    copies = cache.settled_count
    most = cache.effective_max_bytes
    part = f" ({cache.usage_bytes / most:.0%})" if most else ""
    yield f"states      {cache.state_count}, using {rounded(cache.usage_bytes)}"
    if copies:
        yield f"settled     {copies} of them; the copies use {rounded(cache.settled_bytes)} of that"
    yield f"limit       {rounded(most)}{part}{_from(cache)}"
    yield (
        f"            above {cache.high_watermark:.0%} of it, states are removed until "
        f"{cache.low_watermark:.0%} is left, none younger than {cache.min_state_age}"
    )
    free, total = rounded(cache.store_free_bytes), rounded(cache.store_total_bytes)
    yield f"disk        {free} of {total} free; {rounded(cache.reserve_bytes)} reserved"
    yield (
        f"could go    {rounded(cache.reclaimable_bytes)} now; "
        f"{_count(cache.blocked_count, 'state')} could not: in use, pinned or too young"
    )
    for reason in cache.pressure_reasons:
        yield f"pressure    {_REASONS.get(reason, reason)}"
    if cache.last_eviction is not None:
        yield from _eviction(cache.last_eviction)


def _from(cache: "CacheStatus") -> str:
    configured = cache.configured_max_bytes
    if configured is None:
        return ", from the size of the disk"
    return "" if configured == cache.effective_max_bytes else f", {rounded(configured)} configured"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _eviction(last: "Eviction") -> Iterator[str]:
    when = last.trigger.replace("_", " ")
    what = _count(last.evicted_count, "state")
    if last.settled_count:
        what += f", {last.settled_count} settled {'copy' if last.settled_count == 1 else 'copies'}"
    yield (f"evicted     {what}, {rounded(last.freed_bytes)}, {age(last.completed_at)} ago, {when}")


COMMAND = Command(
    usage="status [--cache]",
    about=ABOUT,
    options=(Option(("--cache",), "how full the cache is"),),
    examples=("pgstrata status", "pgstrata status --cache", "pgstrata --output json status"),
    run=run,
    wordless=True,
)
