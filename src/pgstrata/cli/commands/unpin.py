"""``unpin``: allow a state to be evicted again."""

from pgstrata.cli.command import Command
from pgstrata.cli.pinning import STATE_NEEDED, pinning

ABOUT = f"""
Unpins a state: it may be evicted when the cache needs space. {STATE_NEEDED}
"""

COMMAND = Command(
    usage="unpin STATE",
    about=ABOUT,
    options=(),
    examples=("pgstrata unpin 3f2a9c1d",),
    run=pinning(pinned=False),
)
