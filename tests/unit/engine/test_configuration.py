"""An engine's configuration: what is stored, what counts, and what is refused."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgstrata.config import keys
from pgstrata.config.schema import json_schema
from pgstrata.engine.configuration import FILE, EngineConfiguration
from pgstrata.engine.exposure import certificate
from pgstrata.errors import ConflictError, InvalidArgumentError, ProgramsNotAllowedError
from pgstrata.settings import Settings
from tests.packages.installing import record


def configuration(store: Path, **layers: dict[str, Any]) -> EngineConfiguration:
    given = {"options": {}, "defaults": {}, **layers}
    return EngineConfiguration(store, options=given["options"], defaults=given["defaults"])


def test_what_is_set_counts_at_once_and_for_the_next_engine(tmp_path: Path) -> None:
    engine, told = configuration(tmp_path), list[Settings]()
    engine.on_change(told.append)
    change = engine.set("cache.capacity.minStateAge", "1h")
    assert (change.value, change.restart_required) == ("1h", False)
    assert [settings.cache.capacity.min_state_age for settings in told] == [3600]
    assert engine.get(None, effective=False) == {"cache": {"capacity": {"minStateAge": "1h"}}}
    assert configuration(tmp_path).settings.cache.capacity.min_state_age == 3600
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600

    assert engine.remove("cache").value == {}
    assert told[-1].cache.capacity.min_state_age == 600
    assert engine.get("cache.capacity.minStateAge", effective=False) is None
    assert configuration(tmp_path).get(None, effective=False) == {}


def test_a_map_sets_all_of_it_or_nothing(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    engine.set("instances", {"max": 3, "limits": {"processes": 99}})
    assert engine.get("instances", effective=False) == {"max": 3, "limits": {"processes": 99}}
    deep: dict[str, Any] = {}
    for _ in range(900):
        deep = {"x": deep}
    for wrong in (deep, {"max": 4, "maxx": 1}, {"max": 4, "defaultTtl": [1]}, {"max": None}, {}):
        with pytest.raises(InvalidArgumentError):
            engine.set("instances", wrong)
    with pytest.raises(InvalidArgumentError, match="watermarks"):
        engine.set("cache.capacity", {"lowWatermark": 0.9, "highWatermark": 0.5})
    assert configuration(tmp_path).get("instances.max", effective=True) == 3


def test_what_servers_depend_on_waits_for_the_next_engine_and_says_so(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    assert engine.set("sandbox.network", True).restart_required
    assert engine.get("sandbox.network", effective=False) is True
    assert engine.get("sandbox.network", effective=True) is False
    assert configuration(tmp_path).settings.sandbox.network is True


def test_options_come_before_what_is_stored_and_a_projects_file_after_it(tmp_path: Path) -> None:
    configuration(tmp_path).set("instances", {"max": 5, "defaultTtl": "1h"})
    engine = configuration(
        tmp_path, options={"instances.max": 1}, defaults={"instances.defaultTtl": 7}
    )
    assert engine.settings.instances[1:3] == (3600, 1)
    with pytest.raises(ConflictError):
        engine.set("instances.max", 2)
    with pytest.raises(ConflictError):
        engine.remove("instances.max")


def test_what_is_in_effect_is_valid_and_complete(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    engine.decide("engine.allowPrograms", True)
    engine.set("runtime.settings.pg_stat_statements.max", 500)
    effective = engine.get(None, effective=True)
    assert effective["engine"]["allowPrograms"] is True
    assert effective["runtime"]["settings"]["fsync"] == "off"
    assert effective.keys() == json_schema()["properties"].keys()
    assert engine.get("runtime.settings", effective=False) == {"pg_stat_statements.max": "500"}
    json.dumps(effective)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("cache.capacity.maxByte", 1, "did you mean cache.capacity.maxBytes?"),
        ("instance.max", 1, "did you mean instances.max?"),
        ("instances.max", "many", "instances.max must be a whole number"),
        ("instances.max", True, "instances.max must be a whole number"),
        ("liquibase.home", "lib", "liquibase.home must be absolute"),
        ("runtime.settings.port", "1", "runtime.settings.port cannot be set"),
        ("store", "/x", "store is not a setting of the engine"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    tmp_path: Path, path: str, value: object, told: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        configuration(tmp_path).set(path, value)
    assert told in f"{caught.value.message} {caught.value.remedy}"
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("path", ["nothing", "cache.nothing", "store", "cache.capacity.maxBytes.x"])
def test_an_unknown_path_is_refused_when_it_is_read_or_removed(tmp_path: Path, path: str) -> None:
    for ask in (
        lambda one: configuration(tmp_path).get(one, effective=True),
        configuration(tmp_path).remove,
    ):
        with pytest.raises(InvalidArgumentError):
            ask(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"instances": {"max": "many"}}', '{"x": 1}'])
def test_a_file_that_is_wrong_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InvalidArgumentError, match=FILE):
        configuration(tmp_path)


def test_clients_that_may_not_run_programs_may_not_choose_them_either(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    engine.decide("engine.allowPrograms", False)
    for path, value in (("engine.allowPrograms", True), ("liquibase.exec", "/bin/sh")):
        with pytest.raises(ProgramsNotAllowedError):
            engine.set(path, value)
    engine.set("instances.max", 4)
    assert engine.settings.instances.max == 4


_VAULT = """
from typing import Annotated, NamedTuple
from pgstrata.domain.setting import Setting

class VaultSettings(NamedTuple):
    key: Annotated[str | None, Setting("what opens the vault", secret=True)] = None

class PLUGIN:
    name = section = "vault"
    settings = staticmethod(lambda: VaultSettings)
"""


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kind of another package is installed, which has a secret setting."""
    packages = tmp_path / "packages"
    entry_points = {"pgstrata.kinds": {"vault": "vault:PLUGIN"}}
    record(packages, {"name": "vault", "version": "1", "entry-points": entry_points})
    (packages / "vault.py").write_text(_VAULT)
    with monkeypatch.context() as patched:
        patched.syspath_prepend(packages)
        _forget_kinds()
        yield
    _forget_kinds()
    sys.modules.pop("vault", None)


def _forget_kinds() -> None:
    for found in (keys.kind_keys, keys._kind_settings):
        found.cache_clear()


@pytest.mark.usefixtures("vault")
def test_a_secret_is_kept_where_only_the_engine_reads_it_and_never_shown(tmp_path: Path) -> None:
    for old in (FILE, f".{FILE}.draft"):
        (tmp_path / old).write_text("{}")
        (tmp_path / old).chmod(0o644)
    engine = configuration(tmp_path)
    change = engine.set("vault.key", "open sesame")
    shown = [change.value, engine.get("vault.key", effective=False)]
    shown += [engine.get(None, effective=effective) for effective in (True, False)]
    assert "sesame" not in str(shown)
    assert json.loads((tmp_path / FILE).read_text()) == {"vault": {"key": "open sesame"}}
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again = configuration(tmp_path)
    again.set("instances.max", 4)
    assert json.loads((tmp_path / FILE).read_text())["vault"] == {"key": "open sesame"}


def test_an_entry_is_removed_without_those_whose_names_begin_like_its_own(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    engine.set("runtime.settings", {"app": "1", "app.user": "2"})
    engine.remove("runtime.settings.app")
    assert engine.get("runtime.settings", effective=False) == {"app.user": "2"}


def test_what_belongs_to_commands_is_said_to(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    with pytest.raises(InvalidArgumentError, match="not a setting of the engine"):
        engine.get("store", effective=True)
    with pytest.raises(InvalidArgumentError, match="not a setting of the engine"):
        engine.remove("store")


def test_no_restart_is_asked_for_where_it_would_change_nothing(tmp_path: Path) -> None:
    engine = configuration(tmp_path)
    assert not engine.set("sandbox.network", False).restart_required
    assert engine.set("sandbox.network", True).restart_required
    assert not engine.set("sandbox.network", False).restart_required
    assert not engine.remove("sandbox").restart_required
    again = configuration(tmp_path, defaults={"sandbox.network": True})
    assert not again.set("sandbox.network", True).restart_required
    assert not again.remove("sandbox.network").restart_required


@pytest.mark.parametrize("name", ["engine.tlsCert", "engine.tlsKey"])
def test_half_of_a_certificate_and_its_key_keeps_no_engine_from_starting(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    configuration(tmp_path).set(name, "/some.pem")
    engine = configuration(tmp_path)
    assert certificate(engine.settings.engine) is None
    assert f"only {name} is set" in caplog.text
    assert engine.get(name, effective=False) == "/some.pem"
    [other] = {"engine.tlsCert", "engine.tlsKey"} - {name}
    with pytest.raises(InvalidArgumentError, match="cannot be used"):
        engine.set(other, "/other.pem")
    assert engine.get(other, effective=False) is None
    with pytest.raises(InvalidArgumentError, match="needs a certificate and its key"):
        certificate(configuration(tmp_path / "new", options={other: Path("/x")}).settings.engine)
