"""What can be set is in the docs, and the docs name nothing that cannot."""

import re
from pathlib import Path

from pgstrata.config.keys import KEYS, SETTING_PREFIX
from pgstrata.system import environment

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
KEYS_PART, _, ENVIRONMENT_PART = DOCS.read_text().partition("## The environment")


def named(part: str) -> set[str]:
    """What the rows of a table are about."""
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_the_docs_tell_of_every_key_and_of_no_other() -> None:
    assert named(KEYS_PART) == {*KEYS, f"{SETTING_PREFIX}NAME"}


def test_the_docs_tell_of_every_variable_and_of_no_other() -> None:
    assert named(ENVIRONMENT_PART) == {
        *(name for name in environment.NAMES if not name.endswith("_proxy")),
        *(f"{prefix}…" for prefix in environment.PREFIXES if prefix != "PGSTRATA_"),
    }
