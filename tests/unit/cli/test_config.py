"""``config get``, ``set``, ``rm`` and ``schema``."""

import json
from pathlib import Path

from tests.unit.cli.conftest import Pgstrata
from tests.unit.client.fake_engine import FakeEngine

CONFIG = "/v1/config"


def test_settings_are_shown_line_by_line_or_as_json(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on(
        "GET", CONFIG, {"instances": {"max": 4, "defaultTtl": None}, "sandbox": {"network": True}}
    )
    assert pgstrata("config", "get", "--effective").out.splitlines() == [
        "instances.max: 4",
        "instances.defaultTtl: not set",
        "sandbox.network: true",
    ]
    assert fake.requests("GET", CONFIG)[-1].query == {"effective": "true"}
    assert json.loads(pgstrata("--output", "json", "config", "get").out)["instances"]["max"] == 4

    fake.on("GET", CONFIG, {"path": "instances.max", "value": 4})
    assert pgstrata("config", "get", "instances.max").out == "4\n"
    assert fake.requests("GET", CONFIG)[-1].query == {"path": "instances.max"}


def test_a_setting_is_set_and_removed(fake: FakeEngine, pgstrata: Pgstrata, project: Path) -> None:
    fake.on("PATCH", CONFIG, {"path": "liquibase.home", "value": "/lb", "restart_required": True})
    ran = pgstrata("config", "set", "liquibase.home", "lb")
    assert fake.requests("PATCH", CONFIG)[-1].body == {
        "path": "liquibase.home",
        "value": str(project / "lb"),
    }
    assert "when the engine is started again" in ran.out
    fake.on("DELETE", CONFIG, {"path": "cache", "value": {}})
    assert pgstrata("config", "rm", "cache").out == "cache is no longer set\n"
    assert fake.requests("DELETE", CONFIG)[-1].query == {"path": "cache"}


def test_wrong_usage_says_what_is_right(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    for words, told in (
        (("set", "instances.max"), "PATH and VALUE"),
        (("set", "instances.max", "many"), "instances.max must be a whole number"),
        (("rm",), "PATH"),
        (("get", "a", "b"), "one PATH"),
    ):
        ran = pgstrata("config", *words)
        assert (ran.exit_code, told in ran.err) == (2, True), ran.err
    assert not fake.requests("PATCH", CONFIG)
