"""The keys a configuration may hold, and what may be said for each."""

from collections.abc import Callable, Mapping

from pgstrata.config import durations, sizes

Value = str | int | float | bool
Layer = Mapping[str, Value]
"""One source's settings: dotted keys and their values as they were written."""

SETTING_PREFIX = "runtime.settings."
"""What comes before the name of one of PostgreSQL's own settings."""

BACKENDS = ("auto", "btrfs", "overlay", "reflink", "copy")

CONSISTENCIES = ("auto", "clean", "crash")


def _text(value: Value) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text, and not empty")
    return value


def _seconds(value: Value) -> int:
    # A number is seconds; true and 1.5 are refused as the words they are.
    return durations.parse_positive(str(value))


def _whole(least: int) -> Callable[[Value], int]:
    def check(value: Value) -> int:
        text = "" if isinstance(value, bool) else str(value)
        if not (text.isascii() and text.isdigit() and int(text) >= least):
            raise ValueError(f"must be a whole number, at least {least}")
        return int(text)

    return check


def _bytes(least: int) -> Callable[[Value], int]:
    def check(value: Value) -> int:
        size = sizes.parse("" if isinstance(value, bool) else str(value))
        if size < least:
            raise ValueError(f"must be at least {least} bytes")
        return size

    return check


def _span(value: Value) -> int:
    return durations.parse(str(value))


def _share(value: Value) -> float:
    try:
        share = float("" if isinstance(value, bool) else value)
    except ValueError:
        share = 0
    if not 0 < share <= 1:
        raise ValueError("must be a part of the whole: more than 0, at most 1, such as 0.9")
    return share


def _backend(value: Value) -> str:
    if value not in BACKENDS:
        raise ValueError(f"must be one of {', '.join(BACKENDS)}")
    return str(value)


def _consistency(value: Value) -> str:
    if value not in CONSISTENCIES:
        raise ValueError(f"must be one of {', '.join(CONSISTENCIES)}")
    return str(value)


def setting(value: Value) -> str:
    """A PostgreSQL setting's value, as PostgreSQL wants it written."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


ENGINE_FIELDS: Mapping[str, str] = {
    "cache.capacity.maxBytes": "cache_max_bytes",
    "cache.capacity.reserveBytes": "cache_reserve_bytes",
    "cache.capacity.highWatermark": "cache_high_watermark",
    "cache.capacity.lowWatermark": "cache_low_watermark",
    "cache.capacity.minStateAge": "cache_min_state_age_seconds",
    "instances.defaultTtl": "default_instance_ttl_seconds",
    "instances.max": "max_instances",
    "instances.minFreeMemory": "min_free_memory_bytes",
}
"""Keys that are the engine's alone, with what each is called among its ``Settings``."""

KEYS: Mapping[str, Callable[[Value], Value]] = {
    "store": _text,
    "endpoint": _text,
    "token": _text,
    "image": _text,
    "timeout": _seconds,
    "snapshot.backend": _backend,
    "snapshot.consistency": _consistency,
    "runtime.user": _text,
    "liquibase.home": _text,
    "liquibase.jars": _text,
    "liquibase.java": _text,
    "liquibase.exec": _text,
    "orchestrator.jobs.maxParallel": _whole(1),
    "orchestrator.jobs.maxIdentical": _whole(0),
    "orchestrator.jobs.timeout": _seconds,
    "orchestrator.jobs.drainTimeout": _seconds,
    "cache.capacity.maxBytes": _bytes(1),
    "cache.capacity.reserveBytes": _bytes(0),
    "cache.capacity.highWatermark": _share,
    "cache.capacity.lowWatermark": _share,
    "cache.capacity.minStateAge": _span,
    "instances.defaultTtl": _seconds,
    "instances.max": _whole(0),
    "instances.minFreeMemory": _bytes(0),
}
"""Each key with the function that checks its value. It raises ``ValueError`` saying what the value
must be."""


def check(key: str, value: Value) -> Value:
    """The value of a key, as its type. Raises ``KeyError`` for an unknown key, ``ValueError``."""
    if key.startswith(SETTING_PREFIX) and key != SETTING_PREFIX:
        return setting(value)
    return KEYS[key](value)


def variable(key: str) -> str:
    """The environment's variable for a key: ``PGSTRATA_SNAPSHOT_BACKEND``."""
    return "PGSTRATA_" + key.upper().replace(".", "_")
