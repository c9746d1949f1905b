"""Finds SQL that sets something for its session only, which the next changeset does not see."""

import re
from collections.abc import Iterable

from pgstrata.kinds.sql.comments import without_comments

_SESSION_STATEMENT = re.compile(
    rb"""\s*(
        set \s+ (?!local\b|constraints\b|transaction\b)
      | select \s+ (pg_catalog\.)? set_config \s* \( .* , \s* false \s* \)
      | create \s+ ((local|global) \s+)? temp(orary)? \s
      | prepare \s+ (?!transaction\b)
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_LOOKED_AT = 4096
_SHOWN = 60


def left_in_session(statements: Iterable[str]) -> str | None:
    """The beginning of the first statement that sets or creates something only for its session."""
    for statement in statements:
        beginning = statement[:_LOOKED_AT].encode("utf-8", "surrogatepass")
        text = without_comments(beginning)
        if _SESSION_STATEMENT.match(text):
            words = " ".join(text.decode("utf-8", "replace").split()).removesuffix(";")
            return words if len(words) <= _SHOWN else f"{words[:_SHOWN]} …"
    return None
