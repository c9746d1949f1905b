"""What the ``postgres`` commands have in common."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pgstrata.cli.command import Context
from pgstrata.cli.options import Given, whole_number
from pgstrata.config.keys import settings_of
from pgstrata.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgstrata.domain.image import Installation


def major_of(given: Given, command: str) -> int:
    """The major version that is the only word. Raises ``InvalidArgumentError``."""
    if len(given.words) != 1:
        raise InvalidArgumentError(
            f"{command} needs one major version", remedy=f"write, for instance, `{command} 17`"
        )
    try:
        return whole_number(given.words[0])
    except ValueError as error:
        raise InvalidArgumentError(
            f"{error}: {command} takes a major version", remedy=f"`{command} 17`, for instance"
        ) from error


def home_of(context: Context, target: str | None = None) -> Path:
    """Where servers are put: as said here, as configured, or the default."""
    if target is not None:
        return context.work_dir / target
    from pgstrata.runtime.packaged.home import default_home

    configured = settings_of(context.configuration.engine).postgres.home
    return configured or default_home(os.environ)


def found(context: Context, home: Path) -> "tuple[Installation, ...]":
    """Every PostgreSQL of this machine, as an engine that is started now finds them."""
    import asyncio

    from pgstrata.runtime.installations import Finder
    from pgstrata.runtime.users import choose_server_user

    user = choose_server_user(settings_of(context.configuration.engine).runtime.user)
    return asyncio.run(Finder(user, home=home).find())


def note(context: Context) -> Callable[[str], None]:
    """Reports progress on stderr; silent with ``--output json``."""

    def tell(line: str) -> None:
        if not context.json:
            print(line, file=sys.stderr, flush=True)

    return tell
