"""``cache explain``: what it asks, and how it says it."""

from pathlib import Path

from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import OTHER_STATE, STATE, TASKS
from tests.unit.client.fake_engine import FakeEngine

PATH = "/v1/cache/explain/prepare"


def test_hit_and_miss_are_told_in_words(
    fake: FakeEngine, pgstrata: Pgstrata, project: Path
) -> None:
    words = ("cache", "explain", "prepare:psql", "--name", "dev", "--", "-f", "seed.sql")
    reason = {"code": "input_changed", "text": f"{project}/seed.sql differs"}
    said = {
        "decision": "miss",
        "reason_code": "input_changed",
        "signature": "ab" * 32,
        "matched_state_id": STATE,
        "resolved_image_id": "postgres@sha256:" + "ab" * 32,
        "reason": reason,
        "step": "-f seed.sql",
        "tasks": TASKS[1:3],
    }
    fake.on("POST", PATH, said)
    ran = pgstrata(*words)
    assert ran.out == "miss: step 2 of 2, -f seed.sql: seed.sql differs\n"
    asked = fake.requests("POST", PATH)[-1].body
    assert (asked["prepare_kind"], asked["instance_name"]) == ("psql", "dev")
    fake.on("POST", PATH, {**said, "decision": "hit", "matched_state_id": OTHER_STATE})
    assert pgstrata(*words).out == f"hit: state {OTHER_STATE[:12]} is in the cache\n"


def test_what_is_no_prepare_is_wrong_usage(pgstrata: Pgstrata) -> None:
    for words in ((), ("plan:psql", "-f", "a.sql"), ("prepare:nothing",)):
        ran = pgstrata("cache", "explain", *words)
        assert ran.exit_code == 2
        assert "pgstrata cache explain prepare:psql" in ran.err
