"""Settings by their keys: what is read, refused and written for each."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.config.keys import OWN, every_key, read, settings_of, write
from pgstrata.errors import InvalidArgumentError
from pgstrata.settings import OWN_SERVER_SETTINGS, Settings

WRONG: dict[str, Any] = {
    "engine.allowPrograms": "perhaps",
    "engine.tlsCert": 1,
    "engine.tlsKey": "",
    "engine.hosts": "db.example,,box",
    "store": "",
    "endpoint": 8700,
    "token": 12345,
    "image": 17,
    "image.initdb.locale": 1,
    "image.initdb.localeProvider": "glibc",
    "image.initdb.encoding": "",
    "image.initdb.dataChecksums": "some",
    "timeout": "soon",
    "snapshot.backend": "magic",
    "snapshot.consistency": True,
    "snapshot.settle": "never",
    "snapshot.settleTimeout": 0,
    "runtime.user": "",
    "runtime.settings.work_mem": ["4MB"],
    "sandbox.level": "tight",
    "sandbox.network": "sometimes",
    "sandbox.readPaths": "",
    "orchestrator.jobs.maxParallel": 0,
    "orchestrator.jobs.maxIdentical": -1,
    "orchestrator.jobs.keepNumber": -1,
    "orchestrator.jobs.keepAge": "1 month",
    "orchestrator.jobs.keepBytes": "much",
    "orchestrator.jobs.timeout": "0s",
    "orchestrator.jobs.drainTimeout": "1.5h",
    "orchestrator.jobs.roomTimeout": "for ever",
    "cache.capacity.maxBytes": "0GB",
    "cache.capacity.reserveBytes": "10 XB",
    "cache.capacity.highWatermark": 90,
    "cache.capacity.lowWatermark": 0,
    "cache.capacity.minStateAge": "old",
    "instances.defaultTtl": False,
    "instances.limits.processes": -1,
    "instances.limits.memory": "half",
    "instances.limits.disk": [],
    "instances.max": "many",
    "instances.minFreeMemory": "lots",
    "instances.restart": "perhaps",
    "pool.max": "some",
    "pool.maxStarting": 0,
    "pool.idle": "0s",
    "pool.minFreeMemory": -1,
    "postgres.home": 3,
    "liquibase.home": 3,
    "liquibase.jars": "",
    "liquibase.java": "~no-such-user/java",
    "liquibase.exec": ["liquibase"],
}
RIGHT: dict[str, tuple[Any, Any]] = {
    "engine.allowPrograms": (False, False),
    "engine.tlsCert": ("tls/cert.pem", Path("/work/project/tls/cert.pem")),
    "engine.tlsKey": ("/etc/key.pem", Path("/etc/key.pem")),
    "engine.hosts": ("db.example, box", ("db.example", "box")),
    "store": ("../db", Path("/work/db")),
    "endpoint": ("http://box:8700", "http://box:8700"),
    "token": ("12345", "12345"),
    "image": ("postgres:17", "postgres:17"),
    "image.initdb.locale": ("de-DE", "de-DE"),
    "image.initdb.localeProvider": ("icu", "icu"),
    "image.initdb.encoding": ("LATIN1", "LATIN1"),
    "image.initdb.dataChecksums": ("true", True),
    "timeout": ("15m", 900),
    "snapshot.backend": ("copy", "copy"),
    "snapshot.consistency": ("crash", "crash"),
    "snapshot.settle": ("always", "always"),
    "snapshot.settleTimeout": ("1h", 3600),
    "runtime.user": ("postgres", "postgres"),
    "runtime.settings.jit": (False, "off"),
    "sandbox.level": ("off", "off"),
    "sandbox.network": (True, True),
    "sandbox.readPaths": ("keys:/srv", (Path("/work/project/keys"), Path("/srv"))),
    "orchestrator.jobs.maxParallel": ("3", 3),
    "orchestrator.jobs.maxIdentical": (0, 0),
    "orchestrator.jobs.keepNumber": (50, 50),
    "orchestrator.jobs.keepAge": ("7d", 604800),
    "orchestrator.jobs.keepBytes": ("1GiB", 1 << 30),
    "orchestrator.jobs.timeout": (90, 90),
    "orchestrator.jobs.drainTimeout": ("1d", 86400),
    "orchestrator.jobs.roomTimeout": (0, 0),
    "cache.capacity.maxBytes": ("1.5TB", 1_500_000_000_000),
    "cache.capacity.reserveBytes": (0, 0),
    "cache.capacity.highWatermark": ("0.7", 0.7),
    "cache.capacity.lowWatermark": (1, 1.0),
    "cache.capacity.minStateAge": (0, 0),
    "instances.defaultTtl": ("90", 90),
    "instances.limits.processes": (100, 100),
    "instances.limits.memory": ("4GB", 4_000_000_000),
    "instances.limits.disk": (0, 0),
    "instances.max": (40.0, 40),
    "instances.minFreeMemory": ("512MiB", 512 << 20),
    "instances.restart": (True, True),
    "pool.max": (0, 0),
    "pool.maxStarting": ("3", 3),
    "pool.idle": ("10m", 600),
    "pool.minFreeMemory": ("2GiB", 2 << 30),
    "postgres.home": ("./pg", Path("/work/project/pg")),
    "liquibase.home": ("/opt/liquibase", Path("/opt/liquibase")),
    "liquibase.jars": ("a.jar:/b", (Path("/work/project/a.jar"), Path("/b"))),
    "liquibase.java": ("./java", Path("/work/project/java")),
    "liquibase.exec": ("../liquibase", Path("/work/liquibase")),
}
KEYS = every_key()
BASE = Path("/work/project")


def test_every_key_is_tried_here() -> None:
    tried = {name if name in KEYS else name.rpartition(".")[0] for name in RIGHT}
    assert tried == {name if name in KEYS else name.rpartition(".")[0] for name in WRONG}
    assert tried == KEYS.keys()


@pytest.mark.parametrize(("name", "case"), RIGHT.items())
def test_a_value_is_read_as_its_type_and_written_so_that_it_is_read_again(
    name: str, case: tuple[Any, Any]
) -> None:
    said, value = case
    found = read("here", name, said, BASE)
    assert found == value
    assert type(found) is type(value) or isinstance(value, Path)
    assert read("there", name, write(name, found), Path("/elsewhere")) == value


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_a_wrong_value_is_refused_with_where_it_is_from_its_key_and_what_is_accepted(
    name: str, value: object
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read("/etc/config.yaml", name, value, BASE)
    message = caught.value.message
    assert message.startswith(f"/etc/config.yaml: {name} must be ")
    key = KEYS.get(name) or KEYS[name.rpartition(".")[0]]
    assert key.values.accepted in message
    assert caught.value.remedy


def test_a_wrong_value_is_shown_unless_it_is_secret() -> None:
    for name, value, shown in (("image", 17, True), ("timeout", "soon", True), ("token", 5, False)):
        with pytest.raises(InvalidArgumentError) as caught:
            read("here", name, value, BASE)
        assert (f"{value}" in caught.value.message) == shown


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("snapshot.backnd", "snapshot.backend"),
        ("cache.capacity.maxbytes", "cache.capacity.maxBytes"),
        ("instance.max", "instances.max"),
        ("snapshot", "snapshot.consistency"),
        ("cache", "cache.capacity.minStateAge"),
    ],
)
def test_an_unknown_key_is_answered_with_those_it_may_stand_for(name: str, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"there is no setting {name}") as caught:
        read("here", name, "x", BASE)
    assert told in str(caught.value.remedy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("instances.max", 10**12),
        ("instances.max", 1e300),
        ("instances.defaultTtl", "99999999d"),
        ("timeout", 10**18),
        ("cache.capacity.maxBytes", "9999999999.5TB"),
        ("liquibase.exec", "/bin/\0x"),
        ("sandbox.readPaths", "/tmp:/\0"),
        ("runtime.user", "a\0"),
        ("runtime.settings.search_path", "a\0b"),
    ],
)
def test_what_no_machine_can_work_by_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name} must be "):
        read("here", name, value, BASE)


@pytest.mark.parametrize("name", ["a b", "x'y", "n\nfsync", "a.", ".a", "1st", "a=b", "é"])
def test_what_can_be_no_servers_setting_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="there can be no setting"):
        read("here", f"runtime.settings.{name}", "x", BASE)


@pytest.mark.parametrize("name", ["port", "Hba_File", "client_encoding", "include_if_exists"])
def test_a_server_setting_that_is_the_engines_own_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        read("--server-setting", f"runtime.settings.{name}", "x", BASE)
    assert f"--server-setting: runtime.settings.{name}" in caught.value.message
    assert OWN_SERVER_SETTINGS[name.lower()] in caught.value.message


@pytest.mark.parametrize("name", ["runtime.settings", "runtime.settings.", "x", "storeX"])
def test_what_is_no_setting_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgumentError, match="there is no setting"):
        read("here", name, "x", BASE)


def test_a_variable_is_named_after_its_key_and_a_map_has_none() -> None:
    assert KEYS["snapshot.backend"].variable == "PGSTRATA_SNAPSHOT_BACKEND"
    assert KEYS["cache.capacity.maxBytes"].variable == "PGSTRATA_CACHE_CAPACITY_MAXBYTES"
    assert KEYS["runtime.settings"].variable is None
    variables = [key.variable for key in KEYS.values()]
    assert len(variables) == len(set(variables))


def test_what_nobody_says_stays_at_its_default() -> None:
    assert settings_of({}) == Settings()
    changed = settings_of({"instances.max": 3})
    assert changed.instances == Settings().instances._replace(max=3)
    assert changed._replace(instances=Settings().instances) == Settings()


ENGINES = sorted(name for name in RIGHT if name not in OWN)


@given(st.sets(st.sampled_from(ENGINES)))
def test_what_is_said_for_the_engine_arrives_where_its_key_says(names: set[str]) -> None:
    settings = settings_of({name: RIGHT[name][1] for name in names})
    for name in ENGINES:
        key = KEYS.get(name) or KEYS["runtime.settings"]
        value: Any = settings
        for field in key.fields:
            value = getattr(value, field)
        if key.is_map:
            assert value == ({"jit": "off"} if name in names else {})
        else:
            assert value == (RIGHT[name][1] if name in names else key.default)


def test_server_settings_are_kept_apart_entry_by_entry() -> None:
    said = {"runtime.settings.jit": "off", "runtime.settings.auto_explain.log_format": "json"}
    runtime = settings_of(said).runtime
    assert runtime.settings == {"jit": "off", "auto_explain.log_format": "json"}
    assert runtime.all_settings["fsync"] == "off"
    fsync = settings_of({**said, "runtime.settings.fsync": "off"}).runtime
    assert fsync.own_settings == runtime.settings
    assert settings_of({"runtime.settings.fsync": "on"}).runtime.all_settings["fsync"] == "on"
