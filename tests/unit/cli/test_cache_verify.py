"""``cache verify``."""

import json

from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import STATE
from tests.unit.client.fake_engine import FakeEngine


def scripted(fake: FakeEngine, outcome: str | None) -> None:
    end = {"checked": 3, "total": 3}
    found = {"checked": 2, "total": 3, "state_id": STATE, "problem": "there is no marker"}
    lines = [end] if outcome is None else [{**found, "outcome": outcome}, end]
    fake.on(
        "POST", "/v1/cache/verify", b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    )


def test_a_sound_cache_is_told_so(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    scripted(fake, None)
    ran = pgstrata("cache", "verify")
    assert (ran.exit_code, ran.out) == (0, "checked 3 states, all of them sound\n")


def test_what_is_wrong_and_left_is_exit_code_1(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    scripted(fake, "would_remove")
    ran = pgstrata("cache", "verify")
    assert ran.exit_code == 1
    assert f"state {STATE[:12]}: there is no marker (--repair removes it)" in ran.out


def test_what_could_not_be_examined_is_exit_code_1(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    end = {"checked": 3, "total": 3}
    problem = "it cannot be examined: No space left on device"
    found = {"checked": 2, "total": 3, "state_id": STATE, "problem": problem}
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in (found, end))
    fake.on("POST", "/v1/cache/verify", lines)
    ran = pgstrata("cache", "verify", "--repair")
    assert ran.exit_code == 1
    assert f"{problem} (it is left as it is)" in ran.out
    assert "1 could not be examined" in ran.out


def test_what_was_mended_is_exit_code_0(fake: FakeEngine, pgstrata: Pgstrata) -> None:
    scripted(fake, "removed")
    ran = pgstrata("--output", "json", "cache", "verify", "--repair")
    assert ran.exit_code == 0
    assert json.loads(ran.out) == {
        "checked": 3,
        "problems": [{"state_id": STATE, "problem": "there is no marker", "outcome": "removed"}],
    }


def test_contents_that_were_read_for_the_first_time_are_not_called_compared(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    end = json.dumps({"checked": 3, "total": 3, "first_read": 2})
    fake.on("POST", "/v1/cache/verify", end.encode() + b"\n")
    ran = pgstrata("cache", "verify", "--deep")
    assert ran.exit_code == 0
    assert "the content of 2 was read for the first time" in ran.out
    ran = pgstrata("--output", "json", "cache", "verify", "--deep")
    assert json.loads(ran.out) == {"checked": 3, "problems": [], "first_read": 2}
    assert [asked.query for asked in fake.asked] == [{"deep": "true"}] * 2
