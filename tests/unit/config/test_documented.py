"""What can be set is in the docs, and the docs name nothing that cannot."""

import re
from pathlib import Path

from pgstrata.config.keys import KEYS, SETTING_PREFIX

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_docs_tell_of_every_key_and_of_no_other() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])}
    assert named == {*KEYS, f"{SETTING_PREFIX}NAME"}
