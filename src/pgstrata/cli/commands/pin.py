"""``pin``: keep a state from being evicted."""

from pgstrata.cli.command import Command
from pgstrata.cli.pinning import STATE_NEEDED, pinning

ABOUT = f"""
Keeps a state, and every state it was made from, from being evicted. It can still be removed with
`pgstrata rm`. {STATE_NEEDED}
"""

COMMAND = Command(
    usage="pin STATE",
    about=ABOUT,
    options=(),
    examples=("pgstrata pin 3f2a9c1d", "pgstrata ls -s"),
    run=pinning(pinned=True),
)
