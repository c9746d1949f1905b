"""``rm``: what an id stands for, and what is told of the deletion."""

import json
from typing import Any

import pytest

from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import INSTANCE, JOB, STATE
from tests.unit.client.fake_engine import JOB_ID, FakeEngine
from tests.unit.httpapi.samples import a_name, a_state, an_instance


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    """An engine whose lists are empty until a test fills one."""
    for route in ("instances", "states", "prepare-jobs"):
        fake.on("GET", f"/v1/{route}", [])
    return fake


def result(outcome: str, *, dry_run: bool = False, **root: Any) -> dict[str, Any]:
    node = {"kind": "state", "id": STATE, **root}
    return {"dry_run": dry_run, "outcome": outcome, "root": node}


def test_an_instance_is_removed_by_its_name(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    stocked.on("GET", "/v1/names/shop", a_name("shop", instance_id=INSTANCE))
    path = f"/v1/instances/{INSTANCE}"
    stocked.on("DELETE", path, result("deleted", kind="instance", id=INSTANCE))
    ran = pgstrata("rm", "shop")
    assert (ran.exit_code, ran.out) == (0, f"deleted\n  instance {INSTANCE}\n")
    assert stocked.requests("DELETE", path)[0].query == {}


def test_a_job_is_removed_by_its_whole_id(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    stocked.on("GET", "/v1/prepare-jobs", [JOB])
    path = f"/v1/prepare-jobs/{JOB_ID}"
    stocked.on("DELETE", path, result("deleted", kind="job", id=JOB_ID))
    assert pgstrata("rm", "-r", "--force", JOB_ID).exit_code == 0
    assert stocked.requests("DELETE", path)[0].query == {"force": "true"}


def test_a_state_is_removed_with_all_below_it(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    child = {"kind": "instance", "id": INSTANCE, "connections": 2}
    stocked.on("DELETE", f"/v1/states/{STATE}", result("deleted", children=[child]))
    ran = pgstrata("rm", "-rf", STATE[:8].upper())
    assert ran.out.splitlines() == [
        "deleted",
        f"  state {STATE}",
        f"    instance {INSTANCE} clients: 2",
    ]
    (request,) = stocked.requests("DELETE", f"/v1/states/{STATE}")
    assert request.query == {"recurse": "true", "force": "true"}


def blocked(*, dry_run: bool = False) -> dict[str, Any]:
    child = {"kind": "instance", "id": INSTANCE, "connections": 1, "blocked": "active_connections"}
    return result("blocked", dry_run=dry_run, blocked="blocked_by_descendant", children=[child])


def test_what_is_blocked_is_refused_with_the_flag_that_helps(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    stocked.on("DELETE", f"/v1/states/{STATE}", blocked(), 409)
    ran = pgstrata("rm", "-r", STATE)
    assert ran.exit_code == 4
    assert "hint: --force disconnects its clients" in ran.err
    assert f"  instance {INSTANCE} clients: 1 - clients are connected" in ran.err


def test_a_dry_run_shows_what_would_block_and_is_no_error(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    stocked.on("DELETE", f"/v1/states/{STATE}", blocked(dry_run=True))
    ran = pgstrata("rm", "--dry-run", STATE)
    assert (ran.exit_code, ran.out.splitlines()[0]) == (0, "blocked")
    assert stocked.requests("DELETE", f"/v1/states/{STATE}")[0].query == {"dry_run": "true"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_json_is_one_document_blocked_or_not(
    stocked: FakeEngine, pgstrata: Pgstrata, dry_run: bool
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    stocked.on("DELETE", f"/v1/states/{STATE}", blocked(dry_run=dry_run), 200 if dry_run else 409)
    ran = pgstrata("--output", "json", "rm", *(["--dry-run"] if dry_run else []), STATE)
    assert json.loads(ran.out) == blocked(dry_run=dry_run)
    assert ran.exit_code == (0 if dry_run else 4)


def test_an_ambiguous_prefix_lists_what_it_may_mean(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    twins = ["3f2a9c1d" + "0" * 56, "3f2a9c1d" + "1" * 56]
    stocked.on("GET", "/v1/states", [a_state(twin) for twin in twins])
    stocked.on("GET", "/v1/instances", [an_instance("3f2a9c1d" * 4)])
    ran = pgstrata("rm", "3f2a9c1d")
    assert ran.exit_code == 2
    assert ran.err.splitlines()[2:] == [
        f"  instance {'3f2a9c1d' * 4}",
        *(f"  state {twin}" for twin in twins),
    ]


@pytest.mark.parametrize(
    ("given", "hint"), [("abc", "8 characters or more"), ("nobody", "`pgstrata ls --all`")]
)
def test_what_is_not_there_cannot_be_removed(
    stocked: FakeEngine, pgstrata: Pgstrata, given: str, hint: str
) -> None:
    ran = pgstrata("rm", given)
    assert ran.exit_code == 1
    assert hint in ran.err


def test_rm_needs_exactly_one_id(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    assert pgstrata("rm").exit_code == 2
    assert pgstrata("rm", "one", "two").exit_code == 2
