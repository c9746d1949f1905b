"""Every setting of the engine, once: its type, its default and its meaning.

A setting's key is its path: ``cache.capacity.maxBytes`` is ``max_bytes`` of
``Settings.cache.capacity``. Its type determines which values are accepted. ``config`` makes
command-line options, variables, the documentation and the JSON Schema from these classes; a
command's own settings are in ``config.model``.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pgstrata.domain.durations import Seconds
from pgstrata.domain.setting import Setting, Share
from pgstrata.domain.sizes import Bytes

Backend = Literal["auto", "btrfs", "overlay", "reflink", "copy"]

Consistency = Literal["auto", "clean", "crash"]
"""How a server is left in a state: stopped cleanly, or as after a crash if that loses nothing;
``auto`` takes what costs less."""

Settle = Literal["auto", "off", "always"]
"""Which states get a settled copy."""

SandboxLevel = Literal["auto", "off", "partial", "basic", "strict"]

THROW_AWAY_SETTINGS: dict[str, str] = {
    # Nothing here has to survive a power failure: a state's files are synced after the server has
    # stopped, and an instance is meant to be thrown away. A crash of a process is another matter:
    # commits wait until the kernel has them (`synchronous_commit` stays on).
    "fsync": "off",
    "full_page_writes": "off",
    # There is never a replica, so WAL need not contain what one would need.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # It would have a process wait in each server that would apply the changes of another one.
    "max_logical_replication_workers": "0",
    # Many servers share one machine.
    "shared_buffers": "16MB",
    "max_connections": "100",
    # Most of them wait, and their background processes should, too.
    "bgwriter_delay": "10s",
    "wal_writer_delay": "10s",
    "io_method": "sync",
    # WAL kept for reuse is copied with every state.
    "min_wal_size": "32MB",
    "max_wal_size": "1GB",
}
"""PostgreSQL settings for databases that are thrown away; each can be overridden, also by what a
script sets with ``ALTER SYSTEM``."""

FIRST_MAJORS = {"io_method": 18}
"""The first major that knows a setting of these, where not all do."""

OWN_SERVER_SETTINGS: dict[str, str] = {
    "listen_addresses": "servers listen on loopback only",
    "port": "each server gets a free one",
    "unix_socket_directories": "sockets are in the store",
    "config_file": "it is made from these settings",
    "data_directory": "each server has its own",
    "include": "states are named by settings, and not by what is in a file",
    "include_dir": "states are named by settings, and not by what is in files",
    "include_if_exists": "states are named by settings, and not by what is in a file",
    "hba_file": "the store controls access",
    "ident_file": "the store controls access",
    "client_encoding": "scripts are read as UTF-8",
    "standard_conforming_strings": "scripts are read with it on",
}
"""Server settings that users may not set, each with the reason."""

SERVER_SETTING = r"^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*$"
"""What the name of a server setting looks like."""


class SnapshotSettings(NamedTuple):
    """How states are taken."""

    backend: Annotated[
        Backend,
        Setting(
            "how states are cloned; auto tries and measures once for each store",
            option="--snapshot-backend NAME",
            restart=True,
        ),
    ] = "auto"
    consistency: Annotated[
        Consistency,
        Setting(
            "clean stops the server for every snapshot, crash only where something would be lost "
            "otherwise, auto also after a job's last step",
            option="--snapshot-consistency HOW",
        ),
    ] = "auto"
    settle: Annotated[
        Settle,
        Setting(
            "which states get a settled copy (vacuumed, frozen, analysed) for instances to be "
            "cloned from: auto large ones that are asked for again, always all of which there are "
            "instances, off none"
        ),
    ] = "auto"
    settle_timeout: Annotated[
        Seconds, Setting("how long making a settled copy may take", least=1)
    ] = Seconds(600)


class ServerSettings(NamedTuple):
    """How PostgreSQL is run."""

    user: Annotated[
        str | None,
        Setting(
            "the user that servers run as when the engine is root",
            default="`pgstrata` or `nobody`",
            option="--server-user USER",
            restart=True,
        ),
    ] = None
    settings: Annotated[
        Mapping[str, str],
        Setting(
            "a PostgreSQL setting for every server",
            default="for throw-away use",
            option="--server-setting NAME=VALUE",
            restart=True,
            reserved=OWN_SERVER_SETTINGS,
            entry=SERVER_SETTING,
        ),
    ] = {}

    @property
    def all_settings(self) -> dict[str, str]:
        """The settings that every server is started with, if its major knows them."""
        return THROW_AWAY_SETTINGS | dict(self.settings)

    @property
    def own_settings(self) -> dict[str, str]:
        """The ``settings`` that differ from our defaults."""
        return dict(self.settings.items() - THROW_AWAY_SETTINGS.items())


class SandboxSettings(NamedTuple):
    """What servers are kept from."""

    level: Annotated[
        SandboxLevel,
        Setting(
            "the cell of each server: basic has namespaces, Landlock and a filter of system calls, "
            "strict a network of its own as well, partial goes without namespaces, off is none at "
            "all; auto takes the best that works up to basic",
            restart=True,
        ),
    ] = "auto"
    network: Annotated[
        bool, Setting("whether servers may connect to others by TCP and UDP", restart=True)
    ] = False
    read_paths: Annotated[
        tuple[Path, ...],
        Setting(
            "more files and directories that servers can read, separated by colons", restart=True
        ),
    ] = ()

    @property
    def own_settings(self) -> dict[str, str]:
        """What lets a server read elsewhere than in its own data."""
        opened = {
            "sandbox.network": "true" if self.network else "",
            "sandbox.readPaths": ":".join(sorted(str(path) for path in self.read_paths)),
        }
        return {name: value for name, value in opened.items() if value}


class PostgresSettings(NamedTuple):
    """Where fetched PostgreSQL servers are."""

    home: Annotated[
        Path | None,
        Setting(
            "where `postgres install` puts servers, and where they are looked for",
            default="`/var/lib/pgstrata-postgres` for root, otherwise "
            "`~/.local/share/pgstrata-postgres`",
            restart=True,
        ),
    ] = None


class LiquibaseSettings(NamedTuple):
    """Where Liquibase comes from, and how many Java processes run it."""

    home: Annotated[
        Path | None,
        Setting(
            "the directory with Liquibase's jars",
            default="where `liquibase install` puts them",
            restart=True,
        ),
    ] = None
    jars: Annotated[
        tuple[Path, ...],
        Setting("more jars, or directories of them, separated by colons", restart=True),
    ] = ()
    java: Annotated[
        Path | None, Setting("the Java to run", default="found by itself", restart=True)
    ] = None
    exec: Annotated[
        Path | None,
        Setting("your own Liquibase, to run every step", default="the built-in way", restart=True),
    ] = None
    max_running: int = max(2, os.cpu_count() or 1)
    """How many Java processes run steps at once."""
    max_idle: int = 2
    """How many idle Java processes are kept."""
    idle_seconds: float = 120.0
    """How long an idle Java process is kept."""


class JobLimits(NamedTuple):
    """How many jobs there may be, and how long they may take."""

    max_parallel: Annotated[
        int,
        Setting(
            "how many jobs work at once; the others wait in a queue",
            least=1,
            default="twice the cores",
            option="--max-parallel N",
        ),
    ] = 2 * (os.cpu_count() or 1)
    max_identical: Annotated[
        int,
        Setting(
            "how many finished jobs with the same request are kept; 0 for all",
            option="--max-identical N",
        ),
    ] = 2
    keep_number: Annotated[int, Setting("how many finished jobs are kept; 0 for any number")] = 1000
    keep_age: Annotated[Seconds, Setting("how long a finished job is kept; 0 for ever")] = Seconds(
        30 * 86400
    )
    keep_bytes: Annotated[
        Bytes,
        Setting("how much finished jobs may take with what they said; 0 for any size"),
    ] = Bytes(256 << 20)
    timeout: Annotated[
        Seconds | None,
        Setting("how long any job may run", least=1, option="--job-timeout TIME"),
    ] = None
    room_timeout: Annotated[
        Seconds,
        Setting(
            "how long a job that finds no room on the disk waits for some; 0: it fails at once",
            option="--room-timeout TIME",
        ),
    ] = Seconds(300)
    drain_timeout: Annotated[
        Seconds,
        Setting(
            "how long running steps may take to reach their state when the engine is told to stop",
            least=1,
            option="--drain-timeout TIME",
        ),
    ] = Seconds(10)
    finished_grace: float = 5.0
    """Seconds for which a finished job is kept regardless of the limits above."""
    heartbeat: float = 0.5
    """Seconds without an event after which a task's last event is repeated."""


class OrchestratorSettings(NamedTuple):
    """How jobs are run."""

    jobs: JobLimits = JobLimits()


class CacheCapacity(NamedTuple):
    """How much space states may take; ``cache.capacity`` works out what that means for a disk."""

    max_bytes: Annotated[
        Bytes | None,
        Setting("the most that states may hold", least=1, default="four fifths of the disk"),
    ] = None
    reserve_bytes: Annotated[
        Bytes | None,
        Setting("what stays free on the store's disk", default="a twentieth of it, at most 10 GiB"),
    ] = None
    high_watermark: Annotated[
        Share, Setting("above this fraction of what states may hold, some are evicted")
    ] = Share(0.9)
    low_watermark: Annotated[
        Share, Setting("states are evicted until no more than this fraction is left")
    ] = Share(0.8)
    min_state_age: Annotated[Seconds, Setting("no younger state is evicted")] = Seconds(600)


class CacheSettings(NamedTuple):
    """Which states are kept."""

    capacity: CacheCapacity = CacheCapacity()


class ServerLimits(NamedTuple):
    """What one server may take of the machine, be it an instance's or one that builds a state."""

    processes: Annotated[
        int,
        Setting(
            "with how many processes and threads a server is stopped; 0 for no limit", restart=True
        ),
    ] = 1024
    memory: Annotated[
        Bytes | None,
        Setting(
            "with more memory a server is stopped; 0 for no limit",
            default="half of the machine's",
            restart=True,
        ),
    ] = None
    disk: Annotated[
        Bytes | None,
        Setting(
            "when its files have grown by more a server is stopped; 0 for no limit",
            default="an instance: half of what is free when it starts",
            restart=True,
        ),
    ] = None


class InstanceLimits(NamedTuple):
    """How many instances there may be, for how long, and what each may take."""

    limits: ServerLimits = ServerLimits()

    default_ttl: Annotated[
        Seconds | None, Setting("how long an instance lives without a --ttl", least=1)
    ] = None
    max: Annotated[int, Setting("how many instances there may be; 0 for no limit")] = 0
    min_free_memory: Annotated[
        Bytes, Setting("no server is started while less memory is available")
    ] = Bytes(128 << 20)
    restart: Annotated[
        bool,
        Setting(
            "whether an instance's server that ended is started again by itself, from its data"
        ),
    ] = False


_STARTS_AT_ONCE = max(2, (os.cpu_count() or 1) // 2)


class PoolSettings(NamedTuple):
    """How many servers wait, cloned and started, for whoever asks next."""

    max_starting: Annotated[
        int,
        Setting(
            "how many of them are started at once",
            least=1,
            default="half of the cores, but at least 2",
        ),
    ] = _STARTS_AT_ONCE
    max: Annotated[
        int, Setting("how many warm servers there may be, of all states; 0 for none")
    ] = 8
    idle: Annotated[
        Seconds, Setting("a warm server that nobody asks for is kept so long", least=1)
    ] = Seconds(300)
    min_free_memory: Annotated[
        Bytes, Setting("no server is kept warm while less memory is available")
    ] = Bytes(1 << 30)


class EngineSettings(NamedTuple):
    """Who may ask what of an engine."""

    allow_programs: Annotated[
        bool | None,
        Setting(
            "whether requests may run programs as the engine's user: `--uncacheable=run`, "
            "`liquibase_exec`, `liquibase_env`, `prepare:exec`, `POST /v1/runs`",
            default="`true` on loopback, otherwise `false`",
            restart=True,
        ),
    ] = None
    tls_cert: Annotated[
        Path | None,
        Setting(
            "the certificate to serve https with: a PEM file, with those it was signed with",
            option="--tls-cert FILE",
            restart=True,
        ),
    ] = None
    tls_key: Annotated[
        Path | None,
        Setting("its key: a PEM file, not encrypted", option="--tls-key FILE", restart=True),
    ] = None
    hosts: Annotated[
        tuple[str, ...],
        Setting(
            "what clients may call the engine in the Host header, separated by commas, beside "
            "loopback names and the address they reach",
            restart=True,
        ),
    ] = ()


class Settings(NamedTuple):
    """An engine's settings."""

    engine: EngineSettings = EngineSettings()
    snapshot: SnapshotSettings = SnapshotSettings()
    runtime: ServerSettings = ServerSettings()
    sandbox: SandboxSettings = SandboxSettings()
    orchestrator: OrchestratorSettings = OrchestratorSettings()
    cache: CacheSettings = CacheSettings()
    instances: InstanceLimits = InstanceLimits()
    pool: PoolSettings = PoolSettings()
    postgres: PostgresSettings = PostgresSettings()
    liquibase: LiquibaseSettings = LiquibaseSettings()
    kinds: Mapping[str, Any] = {}
    """Settings given for kinds from other packages, by section."""

    @property
    def own_server_settings(self) -> dict[str, str]:
        """What differs from our defaults of what a state's content may depend on."""
        return self.runtime.own_settings | self.sandbox.own_settings
