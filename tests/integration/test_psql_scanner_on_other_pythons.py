"""The scanner finds the same on every Python there is: what it finds names states.

Releases of Python have differed in what a regular expression matches.
"""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pgstrata
from tests import needs, psql_scripts

_SEED, _COUNT = 11, 4000
_SOURCES = Path(pgstrata.__file__).parents[1]
_OLDEST = (3, 11)


def _candidates() -> Iterator[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from root.glob("versions/*/bin/python3")
    for directory in (*os.get_exec_path(), "/usr/bin", "/usr/local/bin"):
        if Path(directory) != root / "shims":  # which start one of those above, by and by
            for python in Path(directory).glob("python3*"):
                if re.fullmatch(r"python3(\.\d+)?", python.name):
                    yield python


def _version(python: Path) -> str | None:
    """The program's version if it is a Python to test with; None for any other."""
    ask = "import platform; print(platform.python_version(), platform.python_implementation())"
    try:
        said = subprocess.run(
            [python, "-I", "-c", ask], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version, _, implementation = said.stdout.strip().partition(" ")
    return version if implementation == "CPython" and _key(version) >= _OLDEST else None


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdecimal())


def _others() -> dict[str, Path]:
    """The oldest and the newest Python that are not this one, by their versions."""
    found: dict[str, Path] = {}
    for python in {path.resolve() for path in _candidates()}:
        if (version := _version(python)) is not None:
            found.setdefault(version, python)
    found.pop(platform.python_version(), None)
    versions = sorted(found, key=_key)
    return {version: found[version] for version in {*versions[:1], *versions[-1:]}}


def test_the_scanner_finds_the_same_on_the_oldest_and_on_the_newest_python() -> None:
    others = _others()
    if not others:
        # The others may be root's own; then root compares them.
        give_up = needs.missing if needs.IS_ROOT else needs.missing_root
        give_up("there is no other Python to compare with")
    own = psql_scripts.digest(_SEED, _COUNT)
    for version, python in others.items():
        said = subprocess.run(
            [python, "-I", psql_scripts.__file__, str(_SOURCES), str(_SEED), str(_COUNT)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.stdout.strip() == own, f"Python {version} ({sys.version}): {said.stderr}"
