"""Which kinds there are, and that the documents speak of what there is."""

import re
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pgstrata.kinds import plugins

ROOT = Path(__file__).parents[3]
SHOUT = ROOT / "tests" / "packages" / "shout"


def test_our_own_kinds_are_registered_as_the_table_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][plugins.GROUP] == plugins.BUILT_IN
    ours = {entry.name: entry.value for entry in entry_points(group=plugins.GROUP)}
    assert ours == plugins.BUILT_IN


@pytest.mark.parametrize("name", plugins.BUILT_IN)
def test_a_kind_of_ours_is_found_by_its_name(name: str) -> None:
    found = plugins.find(name)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("name", ["oracle", "", "PSQL", "psql "])
def test_nothing_is_found_by_another_name(name: str) -> None:
    assert plugins.find(name) is None


def test_the_guide_shows_lines_that_the_example_has() -> None:
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", (ROOT / "docs/kinds.md").read_text(), re.S)
    lines = {line.strip() for block in blocks for line in block.splitlines()} - {"", "…"}
    files = [*SHOUT.glob("*/*.py"), SHOUT / "pyproject.toml"]
    written = {line.strip() for file in files for line in file.read_text().splitlines()}
    assert len(blocks) >= 5
    assert sorted(lines - written) == []


@pytest.mark.parametrize(
    ("directory", "registered"),
    [
        ("other-1.0.dist-info", True),
        ("pgstrata_other-1.0.dist-info", True),
        ("other.egg-info", True),
        ("other-1.0.dist-info", False),
    ],
)
def test_a_package_is_looked_for_only_if_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str, registered: bool
) -> None:
    """What is broken shows that it was found."""
    (tmp_path / directory).mkdir()
    group = plugins.GROUP if registered else "console_scripts"
    (tmp_path / directory / "entry_points.txt").write_text(f"[{group}]\nshout = no_such:THING\n")
    (tmp_path / directory / "METADATA").write_text("Metadata-Version: 2.1\nName: other\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    _, broken = plugins.others()
    assert [one.name for one in broken] == (["shout"] if registered else [])
