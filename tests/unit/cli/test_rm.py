"""``rm``: what an id stands for, and what is told of the deletion."""

import json
from typing import Any

import pytest
from msgspec import structs

from pgstrata.cli.removal import tree
from pgstrata.domain.deletion import DeleteNode
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
        f"  state {STATE}  -f schema.sql",
        f"    instance {INSTANCE}  clients: 2",
    ]
    (request,) = stocked.requests("DELETE", f"/v1/states/{STATE}")
    assert request.query == {"recurse": "true", "force": "true"}


def test_a_tree_names_instances_and_shows_steps() -> None:
    below = DeleteNode(kind="instance", id=INSTANCE)
    root = DeleteNode(kind="state", id=STATE, children=(below,))
    assert tree(root, {STATE: "-f a.sql", INSTANCE: "shop"}) == [
        f"  state {STATE}  -f a.sql",
        f"    instance {INSTANCE}  shop",
    ]


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
    assert ran.out.splitlines() == [
        "blocked",
        f"  state {STATE}  -f schema.sql",
        f"    instance {INSTANCE}  clients: 1  - clients are connected",
    ]
    assert "clients are connected" not in ran.err


def test_a_dry_run_shows_what_would_block_and_ends_as_the_removal_would(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    stocked.on("DELETE", f"/v1/states/{STATE}", blocked(dry_run=True))
    ran = pgstrata("rm", "--dry-run", STATE)
    assert (ran.exit_code, ran.out.splitlines()[0]) == (4, "blocked")
    assert stocked.requests("DELETE", f"/v1/states/{STATE}")[0].query == {"dry_run": "true"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_json_is_one_document_blocked_or_not(
    stocked: FakeEngine, pgstrata: Pgstrata, dry_run: bool
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    stocked.on("DELETE", f"/v1/states/{STATE}", blocked(dry_run=dry_run), 200 if dry_run else 409)
    ran = pgstrata("--output", "json", "rm", *(["--dry-run"] if dry_run else []), STATE)
    assert json.loads(ran.out) == blocked(dry_run=dry_run)
    assert ran.exit_code == 4


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


@pytest.mark.parametrize(
    "words", [(), ("--all", "shop"), ("shop", "--unused"), ("--all", "--unused")]
)
def test_rm_needs_ids_or_to_be_told_which(
    stocked: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    assert pgstrata("rm", *words).exit_code == 2


OTHER = "77aa88bb" * 8


def test_several_are_removed_each_for_itself_and_the_exit_code_is_the_worst(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/names/shop", a_name("shop", instance_id=INSTANCE))
    stocked.on("GET", "/v1/prepare-jobs", [JOB])
    busy = result("blocked", kind="job", id=JOB_ID, blocked="active_tasks")
    stocked.on("DELETE", f"/v1/prepare-jobs/{JOB_ID}", busy, 409)
    gone = result("deleted", kind="instance", id=INSTANCE)
    stocked.on("DELETE", f"/v1/instances/{INSTANCE}", gone)
    ran = pgstrata("rm", JOB_ID, "shop", "shop")
    assert ran.exit_code == 4
    assert [line for line in ran.out.splitlines() if not line.startswith(" ")] == [
        "blocked",
        "deleted",
    ]
    document = json.loads(pgstrata("--output", "json", "rm", JOB_ID, "shop").out)
    assert [one["outcome"] for one in document["removed"]] == ["blocked", "deleted"]


def test_nothing_is_removed_if_one_of_several_is_not_there(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/names/shop", a_name("shop", instance_id=INSTANCE))
    assert pgstrata("rm", "shop", "nobody").exit_code == 1
    assert [one for one in stocked.asked if one.method == "DELETE"] == []


def test_what_is_gone_is_told_though_the_next_one_cannot_be_removed(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/names/shop", a_name("shop", instance_id=INSTANCE))
    stocked.on("GET", "/v1/prepare-jobs", [JOB])
    done = result("deleted", kind="job", id=JOB_ID)
    stocked.on("DELETE", f"/v1/prepare-jobs/{JOB_ID}", done)
    silent = {"code": "server_failed", "message": "it does not answer", "details": "add --force"}
    stocked.on("DELETE", f"/v1/instances/{INSTANCE}", silent, 503)
    ran = pgstrata("rm", JOB_ID, "shop")
    assert (ran.exit_code, ran.out) == (3, f"deleted\n  job {JOB_ID}\n")
    assert "it does not answer" in ran.err
    ran = pgstrata("--output", "json", "rm", JOB_ID, "shop")
    assert [one["outcome"] for one in json.loads(ran.out)["removed"]] == ["deleted"]
    assert "add --force" in ran.err
    assert pgstrata("rm", "shop", JOB_ID).out == ""


def swept(engine: FakeEngine) -> list[str]:
    return [one.path.rpartition("/")[2] for one in engine.asked if one.method == "DELETE"]


def test_unused_states_are_those_that_nobody_uses_or_wants_to_keep(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    """Of each such tree, only the root is asked for."""
    ids = {name: f"{number:064x}" for number, name in enumerate("abcdefghi", 1)}
    below = {"b": "a", "c": "b", "d": "a", "e": "d", "g": "f"}
    more: dict[str, dict[str, Any]] = {"c": {"refcount": 1}, "f": {"pinned": True}}
    more |= {"h": {"name": "seeded"}, "i": {"prepare_kind": "snapshot"}}
    states = [
        structs.replace(
            a_state(one, parent=ids[below[name]] if name in below else None), **more.get(name, {})
        )
        for name, one in ids.items()
    ]
    stocked.on("GET", "/v1/states", states)
    for one in ids.values():
        stocked.on("DELETE", f"/v1/states/{one}", result("deleted", id=one))
    assert pgstrata("rm", "--unused", "--force").exit_code == 0
    assert swept(stocked) == [ids["d"], ids["g"]]


def test_everything_goes_in_an_order_in_which_nothing_is_in_the_way(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/prepare-jobs", [JOB])
    stocked.on("GET", "/v1/instances", [an_instance(INSTANCE)])
    stocked.on("GET", "/v1/names", [a_name("shop", instance_id=INSTANCE)])
    stocked.on("GET", "/v1/states", [a_state(STATE), a_state(OTHER, parent=STATE)])
    paths = (f"prepare-jobs/{JOB_ID}", f"instances/{INSTANCE}", f"states/{STATE}")
    for path in paths:
        stocked.on("DELETE", f"/v1/{path}", result("deleted"))
    stocked.on("DELETE", "/v1/names/shop", b"", 204)
    assert pgstrata("rm", "--all", "--force").exit_code == 0
    assert swept(stocked) == [JOB_ID, INSTANCE, "shop", STATE]


def test_without_a_terminal_a_sweep_needs_to_be_forced_or_dry(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/states", [a_state(STATE)])
    ran = pgstrata("rm", "--unused")
    assert (ran.exit_code, swept(stocked)) == (4, [])
    assert "would remove 1 state with what was made of them" in ran.err
    assert "--force" in ran.err
    stocked.on("DELETE", f"/v1/states/{STATE}", result("would_delete", dry_run=True))
    assert pgstrata("rm", "--unused", "--dry-run").exit_code == 0
    stocked.on("GET", "/v1/states", [])
    assert pgstrata("rm", "--unused").out == "nothing to remove\n"
