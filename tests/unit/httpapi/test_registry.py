"""States, instances, names and the engine's own status."""

import json

import pytest

from tests.unit.httpapi.driver import Client, scenario
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import IMAGE, STATE_ID, a_name, a_state, an_instance

PARENT, CHILD = "ab" * 32, "cd" * 32
INSTANCE = "12" * 16


def fill(engine: MemoryEngine) -> None:
    child = a_state(CHILD, kind="lb", parent=PARENT)
    engine.state_rows = {PARENT: a_state(PARENT), CHILD: child}
    engine.instance_rows = {
        INSTANCE: an_instance(INSTANCE, name="kept"),
        "34" * 16: an_instance("34" * 16),
    }
    engine.name_rows = {
        "kept": a_name("kept", instance_id=INSTANCE),
        "lost": a_name("lost", instance_id=None),
    }


@scenario
async def test_an_image_tells_its_version(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    known = await client.get(f"/v1/images/{IMAGE}")
    assert known.json() == {"image_id": IMAGE, "version": "18.4"}
    assert (await client.get("/v1/images/postgres:9")).status == 404
    for malformed in ("mysql", "postgres:x", "postgres@sha256:12", "%00"):
        assert (await client.get(f"/v1/images/{malformed}")).status == 400


@scenario
async def test_a_state_is_shown_with_its_parent_even_when_that_is_none(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    assert (await client.get(f"/v1/states/{CHILD}")).json()["parent_state_id"] == PARENT
    assert (await client.get(f"/v1/states/{PARENT}")).json() == {
        "state_id": PARENT,
        "parent_state_id": None,
        "image_id": IMAGE,
        "prepare_kind": "psql",
        "prepare_args_normalized": "-f schema.sql",
        "created_at": "2026-05-04T12:00:00Z",
        "refcount": 0,
    }


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [PARENT, CHILD]),
        ("?kind=lb", [CHILD]),
        ("?kind=", [PARENT, CHILD]),
        (f"?image={IMAGE}&kind=psql", [PARENT]),
        ("?image=other", []),
        (f"?id_prefix={CHILD[:8].upper()}", [CHILD]),
        (f"?id_prefix={'0' * 80}", []),
    ],
)
@scenario
async def test_states_are_filtered(
    engine: MemoryEngine, client: Client, query: str, found: list[str]
) -> None:
    fill(engine)
    listed = (await client.get(f"/v1/states{query}")).json()
    assert [entry["state_id"] for entry in listed] == found


@pytest.mark.parametrize("path", ["/v1/states", "/v1/instances"])
@pytest.mark.parametrize("prefix", ["", "abcdef1", "abcdefgh", "abcdef12%0A"])
@scenario
async def test_a_prefix_that_could_mean_anything_is_refused(
    engine: MemoryEngine, client: Client, path: str, prefix: str
) -> None:
    answer = await client.get(f"{path}?id_prefix={prefix}")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert "id_prefix" in answer.json()["message"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [INSTANCE, "34" * 16]),
        (f"?state={STATE_ID}&image={IMAGE}", [INSTANCE, "34" * 16]),
        ("?state=other", []),
        ("?id_prefix=12121212", [INSTANCE]),
    ],
)
@scenario
async def test_instances_are_filtered(
    engine: MemoryEngine, client: Client, query: str, found: list[str]
) -> None:
    fill(engine)
    listed = (await client.get(f"/v1/instances{query}")).json()
    assert [entry["instance_id"] for entry in listed] == found


@scenario
async def test_an_instance_is_shown_with_all_that_may_be_null(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    shown = (await client.get(f"/v1/instances/{'34' * 16}")).json()
    assert (shown["name"], shown["expires_at"], shown["status"]) == (None, None, "active")


@scenario
async def test_a_name_leads_to_its_instance(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    answer = await client.get("/v1/instances/kept")
    assert (answer.status, answer.headers["location"]) == (307, f"/v1/instances/{INSTANCE}")
    assert (await client.get(answer.headers["location"])).json()["name"] == "kept"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["kept", "lost"]),
        (f"?instance={INSTANCE}", ["kept"]),
        (f"?state={STATE_ID}&image={IMAGE}", ["kept", "lost"]),
        ("?image=other", []),
    ],
)
@scenario
async def test_names_are_filtered(
    engine: MemoryEngine, client: Client, query: str, found: list[str]
) -> None:
    fill(engine)
    assert [entry["name"] for entry in (await client.get(f"/v1/names{query}")).json()] == found


@scenario
async def test_a_name_is_shown_with_all_that_may_be_null(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    assert (await client.get("/v1/names/lost")).json() == {
        "name": "lost",
        "instance_id": None,
        "image_id": IMAGE,
        "state_id": STATE_ID,
        "state_fingerprint": STATE_ID,
        "status": "missing",
        "last_used_at": None,
    }


@pytest.mark.parametrize("path", ["/v1/states", "/v1/instances", "/v1/names"])
@scenario
async def test_lists_come_as_lines_for_who_accepts_them(
    engine: MemoryEngine, client: Client, path: str
) -> None:
    fill(engine)
    lines = (await client.get(path, accept="application/x-ndjson")).lines()
    assert lines == (await client.get(path)).json()


@scenario
async def test_a_state_with_children_is_deleted_only_with_them(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    answer = await client.delete(f"/v1/states/{PARENT}")
    assert answer.status == 409
    assert answer.json()["root"] == {
        "kind": "state",
        "id": PARENT,
        "blocked": "has_descendants",
        "children": [{"kind": "state", "id": CHILD}],
    }
    assert (await client.delete(f"/v1/states/{PARENT}?recurse&dry_run")).status == 200
    assert PARENT in engine.state_rows
    assert (await client.delete(f"/v1/states/{PARENT}?recurse")).status == 200
    assert not engine.state_rows


@scenario
async def test_an_instance_in_use_is_deleted_only_with_force(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    engine.in_use.add(INSTANCE)
    answer = await client.delete(f"/v1/instances/{INSTANCE}")
    assert (answer.status, answer.json()["root"]["connections"]) == (409, 1)
    assert (await client.delete(f"/v1/instances/{INSTANCE}?dry_run")).status == 200
    assert (await client.delete(f"/v1/instances/{INSTANCE}?force=true")).status == 200
    assert INSTANCE not in engine.instance_rows


@scenario
async def test_what_is_in_an_instance_becomes_a_state(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    path = f"/v1/instances/{INSTANCE}/snapshot"
    made = await client.post(path, {})
    state = made.json()
    assert (made.status, state["parent_state_id"], "name" in state) == (201, None, False)
    assert made.headers["location"] == f"/v1/states/{state['state_id']}"
    named = await client.post(path, {"name": "seeded"})
    assert (named.status, named.json()["name"]) == (201, "seeded")
    [found] = (await client.get("/v1/states?name=seeded")).json()
    assert found["state_id"] == named.json()["state_id"]
    assert (await client.get("/v1/states?name=other")).json() == []
    assert (await client.post(path, {"name": "seeded"})).status == 409
    assert (await client.post(path, {"name": 5})).status == 400
    engine.in_use.add(INSTANCE)
    assert (await client.post(path, {})).status == 409
    assert (await client.ask("POST", f"{path}?force")).status == 201
    assert (await client.post("/v1/instances/nope/snapshot", {})).status == 404


@scenario
async def test_an_instance_in_use_is_reset_only_with_force(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    engine.in_use.add(INSTANCE)
    refused = await client.post(f"/v1/instances/{INSTANCE}/reset")
    assert (refused.status, refused.json()["code"], engine.resets) == (409, "conflict", [])
    assert (await client.post(f"/v1/instances/{INSTANCE}/reset?force=maybe")).status == 400
    done = await client.post(f"/v1/instances/{INSTANCE}/reset?force")
    assert (done.status, done.json()["instance_id"]) == (200, INSTANCE)
    assert engine.resets == [INSTANCE]
    assert (await client.post("/v1/instances/nope/reset")).status == 404


@scenario
async def test_an_instance_is_given_a_name_and_loses_it_again(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    for _ in range(2):
        bound = await client.put("/v1/names/new%20name", {"instance_id": INSTANCE})
        assert (bound.status, bound.json()["instance_id"]) == (200, INSTANCE)
        assert bound.json() == (await client.get("/v1/names/new%20name")).json()
    assert (await client.get("/v1/names/kept")).status == 404
    unbound = await client.delete("/v1/names/new%20name")
    assert (unbound.status, unbound.body) == (204, b"")
    assert (await client.get(f"/v1/instances/{INSTANCE}")).json()["name"] is None


@pytest.mark.parametrize(
    ("binding", "status", "code"),
    [
        ({"instance_id": "34" * 16}, 409, "conflict"),
        ({"instance_id": "56" * 16}, 404, "not_found"),
        ({"instance_id": None}, 400, "invalid_argument"),
        ({}, 400, "invalid_argument"),
    ],
)
@scenario
async def test_a_name_that_cannot_be_given_stays_where_it_is(
    engine: MemoryEngine, client: Client, binding: object, status: int, code: str
) -> None:
    fill(engine)
    refused = await client.put("/v1/names/kept", binding)
    assert (refused.status, refused.json()["code"]) == (status, code)
    assert (await client.get("/v1/names/kept")).json()["instance_id"] == INSTANCE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/states/nope"),
        ("DELETE", "/v1/states/nope"),
        ("GET", "/v1/instances/nope"),
        ("DELETE", "/v1/instances/nope"),
        ("GET", "/v1/names/nope"),
        ("DELETE", "/v1/names/nope"),
    ],
)
@scenario
async def test_what_is_not_there_is_not_found(
    engine: MemoryEngine, client: Client, method: str, path: str
) -> None:
    answer = await client.ask(method, path)
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert "nope" in answer.json()["message"]


@scenario
async def test_the_status_describes_the_engine(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    status = (await client.get("/v1/status")).json()
    assert status["engine"]["instanceId"] == "f" * 32
    assert status["engine"]["startedAt"] == "2026-05-04T12:00:00Z"
    assert status["store"] == {"path": "/var/lib/pgstrata"}
    assert status["runtime"]["installations"][0]["bin_dir"] == "/opt/postgresql/bin"
    assert status["counts"]["instances"] == 2


@scenario
async def test_a_state_is_pinned_and_unpinned_and_says_so(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    for _ in range(2):
        assert (await client.put(f"/v1/states/{CHILD}/pin", None)).json()["pinned"] is True
    assert (await client.get(f"/v1/states/{CHILD}")).json()["pinned"] is True
    assert "pinned" not in (await client.delete(f"/v1/states/{CHILD}/pin")).json()
    nowhere = f"/v1/states/{'ef' * 32}/pin"
    for unknown in (await client.put(nowhere, None), await client.delete(nowhere)):
        assert unknown.status == 404


@scenario
async def test_servers_are_kept_ready_for_a_state(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    answer = await client.put(f"/v1/states/{CHILD}/warm", {"count": 2})
    assert (answer.status, answer.json()) == (200, {"state_id": CHILD, "wanted": 2, "ready": 1})
    assert (await client.put(f"/v1/states/{CHILD}/warm", {"count": 2.0})).status == 200
    for wrong in ({}, {"count": -1}, {"count": 2.5}, {"count": "2"}, None):
        assert (await client.put(f"/v1/states/{CHILD}/warm", wrong)).status == 400
    for much in (9, 10**30):
        assert (await client.put(f"/v1/states/{CHILD}/warm", {"count": much})).status == 409
    assert (await client.put(f"/v1/states/{'ef' * 32}/warm", {"count": 1})).status == 404


@scenario
async def test_the_cache_says_how_full_it_is(engine: MemoryEngine, client: Client) -> None:
    fill(engine)
    status = (await client.get("/v1/cache/status")).json()
    assert status["state_count"] == 2
    assert status["pressure_reasons"] == []
    assert "configured_max_bytes" not in status
    assert "last_eviction" not in status


@scenario
async def test_a_check_of_the_cache_is_told_line_by_line_to_its_end(
    engine: MemoryEngine, client: Client
) -> None:
    fill(engine)
    engine.broken = {PARENT}
    for query, outcome in (("", "would_remove"), ("?repair", "removed")):
        answer = await client.post(f"/v1/cache/verify{query}")
        assert answer.status == 200
        lines = [json.loads(line) for line in answer.body.splitlines()]
        problem = {"problem": "there is no marker", "outcome": outcome, "state_id": PARENT}
        assert lines == [{"checked": 1, "total": 2, **problem}, {"checked": 2, "total": 2}]
    answer = await client.post("/v1/cache/verify?deep=true")
    assert json.loads(answer.body.splitlines()[-1]) == {"checked": 2, "total": 2, "first_read": 2}
    assert (await client.post("/v1/cache/verify?repair=perhaps")).status == 400
