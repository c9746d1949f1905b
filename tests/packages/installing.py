"""Packages of the tests' own, installed where nothing else sees them."""

import shutil
import tomllib
from pathlib import Path

PACKAGES = Path(__file__).parent


def install(name: str, target: Path) -> Path:
    """Install one of the packages beside this file into a directory, to be named in ``PYTHONPATH``.

    It is what pip does with a wheel of pure Python, without the network that building one takes.
    """
    source = PACKAGES / name
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    module = project["name"].replace("-", "_")
    shutil.copytree(source / module, target / module, ignore=shutil.ignore_patterns("__pycache__"))
    record(target, project)
    return target


def record(target: Path, project: dict[str, object]) -> None:
    """Write down, as an installer does, that a project is installed in a directory."""
    name, version = str(project["name"]), str(project["version"])
    directory = target / f"{name.replace('-', '_')}-{version}.dist-info"
    directory.mkdir(parents=True)
    (directory / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )
    groups = project.get("entry-points", {})
    assert isinstance(groups, dict)
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (directory / "entry_points.txt").write_text("\n".join((*lines, "")))
