"""Common parts of the ``postgres`` commands."""

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
    """Read the only argument, a major version. Raises ``InvalidArgumentError``."""
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
    """Return where servers are installed: ``target``, as configured, or the default."""
    if target is not None:
        return context.work_dir / target
    from pgstrata.runtime.packaged.home import default_home

    configured = settings_of(context.configuration.engine).postgres.home
    return configured or default_home(os.environ)


def found(context: Context, home: Path) -> "tuple[Installation, ...]":
    """Find every PostgreSQL on this machine, as an engine started now would."""
    import asyncio

    from pgstrata.runtime.installations import Finder
    from pgstrata.runtime.users import choose_server_user

    user = choose_server_user(settings_of(context.configuration.engine).runtime.user)
    return asyncio.run(Finder(user, home=home).find())


def note(context: Context) -> Callable[[str], None]:
    """Make a function that reports progress on stderr, except with ``--output json``."""

    def show(line: str) -> None:
        if not context.json:
            print(line, file=sys.stderr, flush=True)

    return show
