"""What can be set for the kind."""

from typing import Annotated, Literal, NamedTuple

from pgstrata.domain.setting import Setting


class ShoutSettings(NamedTuple):
    """How it shouts."""

    mark: Annotated[Literal["!", "!!", "?"], Setting("what comes after each line")] = "!"
