"""How long an engine is waited for that was started."""

import itertools
import os
from pathlib import Path

from pgstrata.client.patience import IDLE_SECONDS, LONGEST_SECONDS, Patience, done_by


def test_it_lasts_while_something_is_done_but_not_for_ever() -> None:
    patience = Patience(1000, 0)
    step = IDLE_SECONDS * 0.9
    lasted = itertools.takewhile(
        lambda n: patience.lasts(1000 + n * step, done=n), itertools.count(1)
    )
    assert LONGEST_SECONDS - step <= max(lasted) * step < LONGEST_SECONDS


def test_it_ends_when_nothing_is_done_any_more() -> None:
    patience = Patience(0, "a")
    assert patience.lasts(IDLE_SECONDS * 0.9, "b")
    assert patience.lasts(IDLE_SECONDS * 1.8, "b")
    assert not patience.lasts(IDLE_SECONDS * 2, "b")


def test_that_it_takes_long_is_to_be_told_once() -> None:
    patience = Patience(0, None)
    assert [patience.to_tell(now) for now in (0, 1, 30, 31)] == [False, False, True, False]


def test_work_and_words_are_something_done(tmp_path: Path) -> None:
    log = tmp_path / "log"
    seen = {done_by(os.getpid(), log)}
    log.write_text("a line")
    seen.add(done_by(os.getpid(), log))
    assert len(seen) == 2
    while len(seen) == 2:  # a tick of the processor's clock at most
        seen.add(done_by(os.getpid(), log))


def test_of_a_process_that_is_gone_nothing_is_known(tmp_path: Path) -> None:
    assert done_by(2**30, tmp_path / "log") == ()
