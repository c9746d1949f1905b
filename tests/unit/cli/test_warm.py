"""``warm``: servers wait for a state."""

import json

import pytest

from pgstrata.domain.warmth import Warmth
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import STATE
from tests.unit.client.fake_engine import FakeEngine
from tests.unit.httpapi.samples import a_state


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    fake.on("GET", f"/v1/names/{STATE[:8]}", {"code": "not_found", "message": "no"}, 404)
    fake.on("GET", "/v1/instances", [])
    fake.on("GET", "/v1/states", [a_state(STATE)])
    return fake


def says(fake: FakeEngine, wanted: int, ready: int) -> None:
    path = f"/v1/states/{STATE}/warm"
    fake.on("PUT", path, Warmth(state_id=STATE, wanted=wanted, ready=ready))


def asked_for(fake: FakeEngine) -> object:
    return fake.requests("PUT", f"/v1/states/{STATE}/warm")[-1].body


def test_one_server_is_kept_ready_unless_told_otherwise(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    says(stocked, 1, 0)
    ran = pgstrata("warm", STATE[:8])
    assert ran.err == ""
    assert ran.out == f"state {STATE[:12]} is to have 1 warm server; ready now: 0\n"
    assert asked_for(stocked) == {"count": 1}
    says(stocked, 3, 2)
    assert "3 warm servers; ready now: 2" in pgstrata("warm", STATE[:8], "--count", "3").out
    assert asked_for(stocked) == {"count": 3}


def test_none_are_kept_with_a_count_of_0(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    says(stocked, 0, 1)
    assert "not kept warm any more" in pgstrata("warm", "--count=0", STATE[:8]).out
    assert asked_for(stocked) == {"count": 0}


def test_a_program_reads_how_many_there_are(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    says(stocked, 1, 0)
    ran = pgstrata("--output", "json", "warm", STATE[:8])
    assert json.loads(ran.out) == {"state_id": STATE, "wanted": 1, "ready": 0}


@pytest.mark.parametrize("words", [[], ["--count=-1", STATE], ["--count=x", STATE], ["a", "b"]])
def test_anything_else_is_wrong_usage(pgstrata: Pgstrata, words: list[str]) -> None:
    assert pgstrata("warm", *words).exit_code == 2
