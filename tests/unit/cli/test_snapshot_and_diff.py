"""``snapshot``, ``diff``, and names of states."""

import json

import pytest
from msgspec.structs import replace

from pgstrata.domain.comparison import Comparison, RowCount
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import INSTANCE, STATE
from tests.unit.client.fake_engine import FakeEngine
from tests.unit.httpapi.samples import a_name, a_state

NO = {"code": "not_found", "message": "there is no 'nope'", "details": "look"}


@pytest.fixture
def stocked(fake: FakeEngine) -> FakeEngine:
    kept = replace(a_state(STATE), name="seeded", pinned=True)
    fake.on("GET", "/v1/names/dev", a_name("dev", instance_id=INSTANCE))
    for unknown in ("seeded", "nope", STATE[:8]):
        fake.on("GET", f"/v1/names/{unknown}", NO, 404)
    fake.on("GET", "/v1/instances", [])
    fake.on("GET", "/v1/states", [kept])
    fake.on("POST", f"/v1/instances/{INSTANCE}/snapshot", kept)
    fake.on("PUT", f"/v1/states/{STATE}/pin", kept)
    return fake


def test_a_state_is_made_of_an_instance(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    ran = pgstrata("snapshot", "dev", "--name", "seeded")
    assert ran.out == f"state {STATE[:12]} (seeded)\n"
    assert json.loads(pgstrata("--output", "json", "snapshot", "dev").out)["state_id"] == STATE


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        ((), 2, "needs one INSTANCE"),
        (("dev", "--name", "a/b"), 2, "cannot be a name"),
        (("seeded",), 2, "is a state"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    stocked: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...], exit_code: int, says: str
) -> None:
    ran = pgstrata("snapshot", *words)
    assert (ran.exit_code, says in ran.err) == (exit_code, True)


def test_a_state_is_found_by_its_name(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    assert pgstrata("pin", "seeded").out == f"state {STATE[:12]} is pinned\n"
    assert pgstrata("pin", "nope").exit_code == 1


def test_a_list_of_states_has_their_names(stocked: FakeEngine, pgstrata: Pgstrata) -> None:
    title = a_state(STATE).prepare_args_normalized
    head, row = pgstrata("ls", "-s").out.splitlines()
    assert row.index("seeded") == head.index("NAME")
    assert row.endswith(f"  {title}")


def found(**more: object) -> Comparison:
    alike = Comparison(different=False, schema="", added=(), removed=(), changed=())
    return replace(alike, **more)


def test_what_is_alike_exits_with_0(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    fake.on("POST", "/v1/diff", found())
    ran = pgstrata("diff", "dev", "seeded")
    assert (ran.exit_code, ran.out) == (0, "dev and seeded are alike\n")


def test_what_differs_is_shown_and_exits_with_1(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    rows = (
        RowCount(database="d", table="public.t", a=1, b=None),
        RowCount(database="d", table="public.same", a=7, b=7),
    )
    schema = "--- a/TABLE t\n+++ b/TABLE t\n-i\x1b[31m\n"
    fake.on(
        "POST", "/v1/diff", found(different=True, schema=schema, changed=("TABLE t",), rows=rows)
    )
    ran = pgstrata("diff", "--rows", "dev", "seeded")
    assert ran.exit_code == 1
    assert ran.out == (
        "changed  TABLE t\n\n--- a/TABLE t\n+++ b/TABLE t\n-i [31m\n\n"
        "DATABASE  TABLE     ROWS IN A  ROWS IN B\nd         public.t  1          -\n"
    )
    ran = pgstrata("--output", "json", "diff", "dev", "seeded")
    assert (ran.exit_code, json.loads(ran.out)["changed"]) == (1, ["TABLE t"])


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (400, "invalid_argument")])
def test_what_cannot_be_compared_exits_with_3(
    fake: FakeEngine, pgstrata: Pgstrata, status: int, code: str
) -> None:
    fake.on("POST", "/v1/diff", {**NO, "code": code}, status)
    ran = pgstrata("--output", "json", "diff", "nope", "seeded")
    assert (ran.exit_code, "there is no 'nope'" in ran.err) == (3, True)
    assert json.loads(ran.out)["error"]["code"] == code


@pytest.mark.parametrize("words", [(), ("one",), ("one", "two", "three")])
def test_two_are_needed(pgstrata: Pgstrata, words: tuple[str, ...]) -> None:
    assert pgstrata("diff", *words).exit_code == 2
