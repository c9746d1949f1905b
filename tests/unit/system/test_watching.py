"""What happens to a name is noticed, even if it is undone at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pgstrata.system import watching
from tests.filesystems import reachable_place
from tests.forks import done_as_nobody
from tests.needs import IS_ROOT


def _as_ordinary_user(work: Callable[[], None]) -> None:
    async def scenario() -> None:
        work()

    if IS_ROOT:
        done_as_nobody(scenario)
    else:
        work()


def _away_and_back(path: Path) -> None:
    aside = path.with_name("aside")
    path.rename(aside)
    aside.rename(path)


def _let_a_tick_pass(path: Path, clock: Path) -> None:
    """Until a change to the path would show in its times, which move in ticks."""
    clock.touch()
    while clock.stat().st_ctime_ns <= path.lstat().st_ctime_ns:
        clock.touch()


def test_two_watches_do_not_depend_on_each_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).touch()
    with watching.watch() as first, watching.watch() as second:
        first.follow(tmp_path / "a")
        second.follow(tmp_path / "a")
        second.follow(tmp_path / "b")
        _away_and_back(tmp_path / "b")
        assert (first.disturbed(), second.disturbed()) == (None, tmp_path / "b")
        first.close()
        _away_and_back(tmp_path / "a")
        assert first.disturbed() is None
    with watching.watch() as third:
        third.follow(tmp_path / "a")
        assert third.disturbed() is None


def test_what_happened_before_is_no_matter(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with watching.watch() as early, watching.watch() as late:
        early.follow(tmp_path / "a")
        _away_and_back(tmp_path / "a")
        late.follow(tmp_path / "a")
        assert (early.disturbed(), late.disturbed()) == (tmp_path / "a", None)


def _write(path: Path) -> None:
    path.write_text("changed")


def _write_and_undo(path: Path) -> None:
    path.write_text("changed")
    path.write_text("")


@pytest.mark.parametrize("change", [_write, _write_and_undo, Path.unlink, _away_and_back])
def test_everything_in_a_directory_is_noticed_where_that_is_wanted(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    (tmp_path / "a").touch()
    with watching.watch() as whole, watching.watch() as names:
        whole.directory(tmp_path)
        names.follow(tmp_path / "b")
        change(tmp_path / "a")
        assert whole.disturbed() == tmp_path / "a"
        assert names.disturbed() is None


def test_a_directory_that_is_removed_is_no_longer_watched(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with watching.watch() as watch:
        watch.directory(tmp_path / "a")
        assert watch.complete
        (tmp_path / "a").rmdir()
        assert not watch.complete


def overflow(directory: Path) -> None:
    """Have more happen in a directory than the kernel keeps."""
    kept = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with watching.watch() as watch:
        watch.directory(directory)
        for _ in range(kept // 2 + 1):
            (directory / "a").touch()
            (directory / "a").unlink()


def test_after_events_were_lost_a_change_is_seen_by_what_is_left_of_it(tmp_path: Path) -> None:
    for name in ("busy", "moved"):
        (tmp_path / name).mkdir()
    _let_a_tick_pass(tmp_path / "moved", tmp_path / "clock")
    with watching.watch() as watch:
        watch.follow(tmp_path / "moved" / "a")
        assert watch.complete
        overflow(tmp_path / "busy")
        _away_and_back(tmp_path / "moved")
        assert not watch.complete
        # The first may be a directory above it, in which others are at work.
        assert watch.disturbed() in ((tmp_path / "moved"), *tmp_path.parents, tmp_path)


def test_where_nothing_can_be_watched_a_change_is_seen_by_what_is_left_of_it() -> None:
    with reachable_place() as place:
        top = place / "top"
        (top / "deep").mkdir(parents=True)
        (top / "deep" / "a").touch()
        (top / "b").touch()
        (top / "link").symlink_to("deep")
        _let_a_tick_pass(top / "link", place / "clock")
        top.chmod(0o333)
        place.chmod(0o755)

        def watched(change: Callable[[], object]) -> Path | None:
            with watching.watch() as watch:
                watch.follow(top / "link" / "a")
                assert not watch.complete
                assert watch.disturbed() is None
                change()
                return watch.disturbed()

        def scenario() -> None:
            assert watched(lambda: _away_and_back(top / "deep")) == top / "deep"
            assert watched(lambda: _away_and_back(top / "link")) == top / "link"
            assert watched(lambda: _away_and_back(top / "b")) is None

        _as_ordinary_user(scenario)
        top.chmod(0o755)
