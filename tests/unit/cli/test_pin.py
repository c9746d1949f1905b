"""``pin`` and ``unpin``."""

import json

import pytest
from msgspec.structs import replace

from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import INSTANCE, STATE
from tests.unit.client.fake_engine import FakeEngine
from tests.unit.httpapi.samples import a_state, an_instance


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    fake.on("GET", f"/v1/names/{STATE[:8]}", {"code": "not_found", "message": "no"}, 404)
    fake.on("GET", "/v1/instances", [])
    fake.on("GET", "/v1/states", [a_state(STATE)])
    fake.on("PUT", f"/v1/states/{STATE}/pin", replace(a_state(STATE), pinned=True))
    fake.on("DELETE", f"/v1/states/{STATE}/pin", a_state(STATE))
    return fake


def test_a_state_is_pinned_and_unpinned_by_the_beginning_of_its_id(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    assert pgstrata("pin", STATE[:8]).out == f"state {STATE[:12]} is pinned\n"
    ran = pgstrata("unpin", STATE[:8])
    assert ran.err == ""
    assert ran.out == f"state {STATE[:12]} may be evicted\n"
    assert json.loads(pgstrata("--output", "json", "pin", STATE[:8]).out)["pinned"] is True


def test_only_states_are_pinned(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", f"/v1/names/{INSTANCE[:8]}", {"code": "not_found", "message": "no"}, 404)
    fake.on("GET", "/v1/instances", [an_instance(INSTANCE)])
    fake.on("GET", "/v1/states", [])
    ran = pgstrata("pin", INSTANCE[:8])
    assert ran.exit_code == 2
    assert "is an instance" in ran.err


def test_pin_without_a_state_is_wrong_usage(pgstrata: Pgstrata) -> None:
    assert pgstrata("pin").exit_code == 2
