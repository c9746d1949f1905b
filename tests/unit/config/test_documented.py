"""What can be set is in the docs, and the docs name nothing that cannot."""

import re
from pathlib import Path

from pgstrata.config.documentation import updated
from pgstrata.config.keys import every_key
from pgstrata.system import environment

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
KEYS_PART, _, ENVIRONMENT_PART = DOCS.read_text().partition("## The environment")


def named(part: str) -> set[str]:
    """What the rows of a table are about."""
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


def test_the_docs_tell_of_every_key_and_of_no_other() -> None:
    keys = named(KEYS_PART)
    assert keys == {f"{name}.NAME" if key.is_map else name for name, key in every_key().items()}
    assert {"snapshot.backend", "runtime.settings.NAME", "token"} <= keys


def test_the_docs_tell_of_every_variable_and_of_no_other() -> None:
    assert named(ENVIRONMENT_PART) == {
        *(name for name in environment.NAMES if not name.endswith("_proxy")),
        *(f"{prefix}…" for prefix in environment.PREFIXES if prefix != "PGSTRATA_"),
    }


def test_the_tables_in_the_docs_are_those_made_of_the_settings() -> None:
    text = DOCS.read_text()
    assert text == updated(text), "docs/configuration.md is out of date: run `make docs`"


def test_tables_that_are_out_of_date_are_made_anew_and_nothing_else_is_touched() -> None:
    text = DOCS.read_text()
    assert updated(text.replace("`10m`", "`11m`").replace("Configuration", "Settings", 1)) == (
        text.replace("Configuration", "Settings", 1)
    )
