"""The store's directory, as earlier versions left it."""

from pathlib import Path

from pgstrata.engine.store_directory import remove_old_locks


def test_the_lock_files_of_an_earlier_version_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    for name in ("a" * 64, "base-1"):
        (tmp_path / "locks" / f"{name}.lock").touch()
    (tmp_path / "engine.lock").touch()
    for _ in range(2):
        remove_old_locks(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["engine.lock"]
