"""``reset``, ``start`` and ``dsn``."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.cli.for_eval import LINE
from pgstrata.domain.run import StartedInstance
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import INSTANCE, STATE
from tests.unit.client.fake_engine import FakeEngine
from tests.unit.httpapi.samples import a_name, a_state, an_instance

DSN = "postgresql://postgres:secret@127.0.0.1:5432/postgres"

FAILED = {"reset": f"{LINE}\n", "start": f"{LINE}\n", "dsn": ""}
"""What each prints on stdout if it fails."""


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    instance = replace(an_instance(INSTANCE, name="dev"), dsn=DSN)
    fake.on("GET", "/v1/names/dev", a_name("dev", instance_id=INSTANCE))
    fake.on("GET", "/v1/names/gone", a_name("gone", instance_id=None))
    for unknown in ("nope", INSTANCE[:7], STATE[:8], "c0ffee00"):
        fake.on("GET", f"/v1/names/{unknown}", {"code": "not_found", "message": "no"}, 404)
    fake.on("GET", "/v1/instances", [])
    fake.on("GET", "/v1/states", [])
    fake.on("GET", f"/v1/instances/{INSTANCE}", instance)
    fake.on("POST", f"/v1/instances/{INSTANCE}/reset", instance)
    started = StartedInstance(instance_id=INSTANCE, dsn=DSN, programs=Path("/bin"), restarted=True)
    fake.on("POST", f"/v1/instances/{INSTANCE}/start", started)
    return fake


def test_an_instance_is_reset_and_its_dsn_printed(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    ran = pgstrata("reset", "dev")
    assert ran.out == f"DSN={DSN}\n"
    assert "is back at state" in ran.err
    assert json.loads(pgstrata("--output", "json", "reset", "-f", "dev").out)["dsn"] == DSN


def test_a_server_is_started_again_and_its_dsn_printed(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    ran = pgstrata("start", "dev")
    assert ran.out == f"DSN={DSN}\n"
    assert "was started again" in ran.err
    assert json.loads(pgstrata("--output", "json", "start", "--anyway", "dev").out)["dsn"] == DSN
    asked = stocked.requests("POST", f"/v1/instances/{INSTANCE}/start")
    assert [one.query for one in asked] == [{}, {"anyway": "true"}]


def test_a_dsn_is_printed_alone(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    assert pgstrata("dsn", "dev").out == f"{DSN}\n"
    printed = json.loads(pgstrata("--output", "json", "dsn", "dev").out)
    assert printed == {"instance_id": INSTANCE, "name": "dev", "dsn": DSN}


@pytest.mark.parametrize("command", ["reset", "start", "dsn"])
@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        ((), 2, "needs one INSTANCE"),
        (("dev", "dev"), 2, "needs one INSTANCE"),
        (("gone",), 1, "--name gone"),
        (("nope",), 1, "nope"),
        ((INSTANCE[:7],), 1, "8 characters"),
    ],
)
def test_what_is_no_instance_is_refused(
    stocked: FakeEngine,
    pgstrata: Pgstrata,
    command: str,
    words: tuple[str, ...],
    exit_code: int,
    says: str,
) -> None:
    ran = pgstrata(command, *words)
    assert (ran.exit_code, ran.out) == (exit_code, FAILED[command])
    assert says in ran.err


@pytest.mark.parametrize("command", ["reset", "start", "dsn"])
def test_a_state_or_the_beginning_of_two_ids_is_refused(
    stocked: FakeEngine, pgstrata: Pgstrata, command: str
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    ran = pgstrata(command, STATE[:8])
    assert (ran.exit_code, ran.out) == (2, FAILED[command])
    assert "is a state" in ran.err
    two = [an_instance("c0ffee00" + digit * 24) for digit in "12"]
    stocked.on("GET", "/v1/states", [])
    stocked.on("GET", "/v1/instances", two)
    ran = pgstrata(command, "c0ffee00")
    assert (ran.exit_code, ran.out) == (2, FAILED[command])
    assert "2 things" in ran.err


def test_a_server_that_has_died_has_no_dsn(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    dead = replace(an_instance(INSTANCE, name="dev"), dsn=DSN, status="orphaned")
    stocked.on("GET", f"/v1/instances/{INSTANCE}", dead)
    ran = pgstrata("dsn", "dev")
    assert (ran.exit_code, ran.out) == (4, "")
    for way in ("pgstrata start dev", "pgstrata reset dev"):
        assert way in ran.err


@pytest.mark.parametrize("command", ["reset", "dsn", "snapshot", "rm"])
def test_a_name_whose_instance_is_replaced_meanwhile_means_the_new_one(
    stocked: FakeEngine, pgstrata: Pgstrata, command: str
) -> None:
    stocked.once("GET", "/v1/names/dev", a_name("dev", instance_id="01d" + "0" * 29))
    deleted = {"dry_run": False, "outcome": "deleted", "root": {"kind": "instance", "id": INSTANCE}}
    stocked.on("DELETE", f"/v1/instances/{INSTANCE}", deleted)
    stocked.on("POST", f"/v1/instances/{INSTANCE}/snapshot", a_state(STATE))
    ran = pgstrata(command, "dev")
    assert (ran.exit_code, len(stocked.requests("GET", "/v1/names/dev"))) == (0, 2)


@pytest.mark.parametrize("command", ["reset", "dsn", "snapshot", "rm"])
def test_one_that_is_gone_is_said_to_be(
    stocked: FakeEngine, pgstrata: Pgstrata, command: str
) -> None:
    stocked.on("GET", "/v1/names/dev", a_name("dev", instance_id="01d" + "0" * 29))
    assert pgstrata(command, "dev").exit_code == 1
