"""``ls``: what is asked of the engine, and how it is shown."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import convert

from pgstrata.cli.fitting import fitted
from pgstrata.cli.rows import Style, state_rows
from pgstrata.domain.state import State
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import DSN, INSTANCE, OTHER_STATE, STATE
from tests.unit.client.fake_engine import JOB_ID, FakeEngine

IMAGE = "postgres@sha256:" + "ab" * 32
LONG_AGO = "2020-01-01T00:00:00Z"


def state(state_id: str, parent: str | None, step: str) -> dict[str, Any]:
    return {
        "state_id": state_id,
        "parent_state_id": parent,
        "image_id": IMAGE,
        "prepare_kind": "psql",
        "prepare_args_normalized": step,
        "created_at": LONG_AGO,
        "size_bytes": 48_300_000,
        "refcount": 1,
    }


LISTS: dict[str, list[dict[str, Any]]] = {
    "names": [
        {
            "name": "shop",
            "instance_id": INSTANCE,
            "image_id": IMAGE,
            "state_id": STATE,
            "state_fingerprint": STATE,
            "status": "active",
            "last_used_at": None,
        }
    ],
    "instances": [
        {
            "instance_id": INSTANCE,
            "image_id": IMAGE,
            "state_id": STATE,
            "name": "shop",
            "created_at": LONG_AGO,
            "expires_at": None,
            "status": "active",
            "dsn": DSN,
            "connections": 2,
        }
    ],
    "states": [state(OTHER_STATE, STATE, "-f seed.sql"), state(STATE, None, "-f schema.sql")],
    "prepare-jobs": [
        {
            "job_id": JOB_ID,
            "status": "succeeded",
            "prepare_kind": "psql",
            "image_id": "postgres",
            "created_at": LONG_AGO,
            "prepare_args_normalized": "-f schema.sql",
        }
    ],
    "tasks": [
        {
            "task_id": "plan",
            "type": "plan",
            "planner_kind": "psql",
            "job_id": JOB_ID,
            "status": "succeeded",
        }
    ],
}


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    """An engine with one of everything, and two states."""
    for route, rows in LISTS.items():
        fake.on("GET", f"/v1/{route}", rows)
    fake.on("GET", f"/v1/images/{quote(IMAGE, safe='')}", {"image_id": IMAGE, "version": "18.4"})
    return fake


def asked(engine: FakeEngine) -> list[str]:
    routes = [request.path.removeprefix("/v1/") for request in engine.asked]
    return [route for route in routes if not route.startswith("images/")]


def test_names_and_instances_are_listed_by_default(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    ran = pgstrata("ls")
    assert (ran.exit_code, asked(stocked)) == (0, ["names", "instances"])
    assert "shop" in ran.out


def test_a_password_is_shown_only_to_who_asks_for_it(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    hidden = pgstrata("ls").out
    assert DSN not in hidden
    assert "postgresql://postgres@127.0.0.1:" in hidden
    assert DSN in pgstrata("ls", "--dsn").out
    assert DSN in pgstrata("--output", "json", "ls").out


@pytest.mark.parametrize(
    ("words", "routes"),
    [
        (("-s",), ["states"]),
        (("-ij",), ["instances", "prepare-jobs"]),
        (("--tasks", "-n"), ["names", "tasks"]),
        (("--all",), list(LISTS)),
    ],
)
def test_only_what_is_wanted_is_asked_for(
    stocked: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...], routes: list[str]
) -> None:
    assert pgstrata("ls", *words).exit_code == 0
    assert asked(stocked) == routes


def test_states_are_a_tree_with_parents_above(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    _, parent, child = pgstrata("ls", "-s").out.splitlines()
    assert parent.startswith(f"{STATE[:12]} ")
    assert child.startswith(f"  {OTHER_STATE[:12]} ")
    assert "48.3 MB" in child


def test_a_state_without_its_parent_in_the_list_is_a_root() -> None:
    _, rows = state_rows(
        [convert(state(OTHER_STATE, STATE, "-f seed.sql"), State)], Style(long=True)
    )
    assert rows[0][0] == OTHER_STATE


def test_a_chain_of_states_may_be_longer_than_the_stack_and_stays_in_sight() -> None:
    chain = [state(f"{n:064x}", f"{n - 1:064x}" if n else None, "-c x") for n in range(10_000)]
    _, rows = state_rows(convert(chain, list[State]), Style(long=False))
    cells = [row[0] for row in rows]
    assert cells[:2] == ["0" * 12, "  " + "0" * 12]
    assert cells[10] == "  " * 10 + "0" * 12
    assert cells[11] == "  " * 10 + f"[11] {'0' * 12}"
    assert cells[-1] == "  " * 10 + f"[9999] {'0' * 12}"


def test_what_has_one_parent_far_down_has_one_number() -> None:
    ids = [f"{n:064x}" for n in range(40)]
    chain = [state(one, ids[n - 1] if n else None, "-c x") for n, one in enumerate(ids)]
    chain += [state(f"{n:064x}", ids[30], "-c y") for n in (50, 51)]
    _, rows = state_rows(convert(chain, list[State]), Style(long=True))
    depths = {row[0].split()[-1]: row[0].split()[0] for row in rows}
    assert depths[ids[31]] == depths[f"{50:064x}"] == depths[f"{51:064x}"] == "[31]"


def test_long_shows_whole_ids(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    out = pgstrata("ls", "-s", "--long").out
    assert STATE in out
    assert IMAGE in out


def test_filters_travel_as_the_apis_parameters(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    pgstrata("ls", "-ins", "--image", IMAGE, "--kind", "psql", "--state", STATE)
    queries = {request.path: request.query for request in stocked.asked if request.query}
    assert queries == {
        "/v1/names": {"image": IMAGE, "state": STATE},
        "/v1/instances": {"image": IMAGE, "state": STATE},
        "/v1/states": {"image": IMAGE, "kind": "psql", "id_prefix": STATE},
    }


def test_a_states_prefix_is_made_whole_for_lists_that_want_it_so(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    stocked.on("GET", "/v1/states", [state(STATE, None, "-f schema.sql")])
    pgstrata("ls", "-i", "--state", STATE[:8])
    (request,) = stocked.requests("GET", "/v1/instances")
    assert request.query == {"state": STATE}


def test_a_prefix_of_several_states_is_ambiguous(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    assert pgstrata("ls", "-i", "--state", "3f2a9c1d").exit_code == 2


def test_json_is_the_raw_lists_in_one_object(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    document = json.loads(pgstrata("--output", "json", "ls", "-s", "-j").out)
    assert document == {"states": LISTS["states"], "jobs": LISTS["prepare-jobs"]}


def test_an_image_is_shown_by_its_version_and_asked_for_once(
    stocked: FakeEngine, pgstrata: Pgstrata
) -> None:
    out = pgstrata("ls", "--all").out
    assert "18.4" in out
    assert "ab" * 6 not in out
    assert len([one for one in stocked.asked if "/images/" in one.path]) == 1


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("postgres:18", True),
        ("18", True),
        ("18.4", True),
        ("postgres", True),
        (f"postgres@{'ab' * 6}", True),
        ("ab" * 6, True),
        (IMAGE, True),
        ("postgres:1", False),
        ("postgres:16", False),
        ("18.40", False),
        (f"postgres@{'cd' * 6}", False),
    ],
)
def test_an_image_is_found_by_what_people_and_the_list_call_it(
    stocked: FakeEngine, pgstrata: Pgstrata, wanted: str, found: bool
) -> None:
    out = pgstrata("ls", "-s", "--image", wanted).out
    assert (STATE[:12] in out) == found


def test_filters_take_names(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    stocked.on("GET", "/v1/names/shop", LISTS["names"][0])
    pgstrata("ls", "-in", "--instance", "shop", "--state", "shop")
    assert stocked.requests("GET", "/v1/instances")[-1].query == {
        "id_prefix": INSTANCE,
        "state": STATE,
    }
    assert stocked.requests("GET", "/v1/names")[-1].query == {"instance": INSTANCE, "state": STATE}


@pytest.mark.parametrize("option", ["--instance", "--state"])
def test_a_filter_for_what_is_not_there_says_so(
    stocked: FakeEngine, pgstrata: Pgstrata, option: str
) -> None:
    ran = pgstrata("ls", option, "nobody")
    assert ran.exit_code == 1
    assert f'there is no {option[2:]} "nobody"' in ran.err


HEAD = ("INSTANCE", "NAME", "STATUS", "EXPIRES", "DSN")
ROWS = [("c0ffee00", "shop", "active", "-", "postgresql://postgres@127.0.0.1:5433/postgres")]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (100, HEAD),
        (74, ("INSTANCE", "NAME", "STATUS", "DSN")),
        (66, ("INSTANCE", "NAME", "DSN")),
        (10, ()),
    ],
)
def test_columns_give_way_to_the_last_the_empty_ones_first(
    width: int, shown: tuple[str, ...]
) -> None:
    lines = fitted(HEAD, ROWS, ("STATUS",), width, whole=True).splitlines()
    if width > 10:
        assert lines[0].split() == list(shown)
    assert all(len(line) <= width for line in lines)


def test_as_much_of_a_step_is_seen_as_is_enough() -> None:
    head, rows = ("STATE", "IMAGE", "STEP"), [("3f2a9c1d", "18.4", "-f " + "x" * 200)]
    assert fitted(head, rows, ("IMAGE",), 50).splitlines()[0].split() == [*head]
    narrow = fitted(head, rows, ("IMAGE",), 44).splitlines()
    assert narrow[0].split() == ["STATE", "STEP"]
    assert narrow[1].endswith("x…")
    assert len(narrow[1]) == 44


def test_an_empty_list_says_so(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("GET", "/v1/states", [])
    assert pgstrata("ls", "-s").out == "no states\n"


@pytest.mark.parametrize(
    ("kind", "hint"), [("pqsl", "did you mean psql?"), ("nosuch", "there are exec, lb, psql, snap")]
)
def test_a_kind_that_is_not_there_is_refused_with_what_is(
    stocked: FakeEngine, pgstrata: Pgstrata, kind: str, hint: str
) -> None:
    ran = pgstrata("ls", "-s", "--kind", kind)
    assert (ran.exit_code, hint in ran.err) == (2, True)


def test_a_kind_of_which_the_engine_has_states_is_known(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    fake.on("GET", "/v1/states", [state(STATE, None, "V1") | {"prepare_kind": "flyway"}])
    assert pgstrata("ls", "-s", "--kind", "flyway").exit_code == 0


def test_a_cancelled_job_is_shown_as_such(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    [job] = LISTS["prepare-jobs"]
    stocked.on("GET", "/v1/prepare-jobs", [job | {"status": "failed", "cancelled": True}])
    assert " cancelled " in pgstrata("ls", "-j").out
