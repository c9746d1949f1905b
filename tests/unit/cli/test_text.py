"""How things are written for people."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgstrata.cli.ages import age, until
from pgstrata.cli.text import cut, printable, relative, table

NOW = datetime(2025, 1, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timestamp", "written"),
    [
        (None, "-"),
        ("2025-01-02T11:59:15Z", "45 s"),
        ("2025-01-02T11:30:00.5Z", "29 min"),
        ("2025-01-02T07:00:00Z", "5 h"),
        ("2024-12-01T12:00:00Z", "32 d"),
        ("2025-01-02T12:00:05Z", "0 s"),
    ],
)
def test_ages_are_in_their_largest_unit(timestamp: str | None, written: str) -> None:
    assert age(datetime.fromisoformat(timestamp) if timestamp else None, NOW) == written


def test_what_has_expired_is_over() -> None:
    assert until(datetime.fromisoformat("2025-01-02T11:00:00Z"), NOW) == "over"
    assert until(datetime.fromisoformat("2025-01-02T13:00:00Z"), NOW) == "1 h"


def test_a_table_is_aligned_and_cut_to_its_width() -> None:
    rows = [("a", "short"), ("bbb", "a longer cell")]
    assert table(("X", "Y"), rows) == "X    Y\na    short\nbbb  a longer cell"
    assert table(("X", "Y"), rows, 10).splitlines()[-1] == "bbb  a lo…"


def test_control_characters_are_never_shown() -> None:
    assert printable("a\x1b[2Jb\tc") == "a [2Jb  c"
    assert cut("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("directory", "text", "shown"),
    [
        ("/w", "psql -f /w/a.sql -f /w/b.sql", "psql -f a.sql -f b.sql"),
        ("/w x", "psql -f '/w x/a.sql' -f '/w x/b c.sql'", "psql -f a.sql -f 'b c.sql'"),
        ("/w's", "-f '/w'\"'\"'s/a.sql' -c 'x y'", "-f a.sql -c 'x y'"),
        ("/w", "-f '/w/it'\"'\"'s.sql'", "-f 'it'\"'\"'s.sql'"),
        ("/w x", "/w x/a.sql does not exist", "a.sql does not exist"),
        ("/", "-f '/a b.sql'", "-f '/a b.sql'"),
    ],
)
def test_paths_are_shown_as_they_would_be_typed(directory: str, text: str, shown: str) -> None:
    assert relative(text, Path(directory)) == shown
