"""What a client is told about its engine, where the command line has options."""

import os
from collections.abc import Mapping
from pathlib import Path

from pgstrata.config.load import PROFILE_VARIABLE, load
from pgstrata.config.model import Configuration
from pgstrata.domain.durations import Seconds


def configuration(
    *,
    endpoint: str | None = None,
    token: str | None = None,
    store: str | os.PathLike[str] | None = None,
    image: str | None = None,
    timeout: int | None = None,
    profile: str | None = None,
) -> Configuration:
    """What a command in the current directory would have, with these values above all others.

    Raises ``InvalidArgumentError``.
    """
    given = {"endpoint": endpoint, "token": token, "image": image}
    flags = {name: value for name, value in given.items() if value is not None}
    if store is not None:
        flags["store"] = os.fspath(store)
    loaded = load(Path.cwd(), os.environ, profile, flags)
    return loaded if timeout is None else loaded._replace(timeout=Seconds(timeout))


def of_environment(environment: Mapping[str, str] | None = None) -> Configuration:
    """What variables alone say. Raises ``InvalidArgumentError``."""
    given = os.environ if environment is None else environment
    plain = {name: value for name, value in given.items() if name != PROFILE_VARIABLE}
    return load(Path.cwd(), plain, None, files=False)
