"""A request's settings for its servers: which there can be, and which count. Pure."""

import re
from collections.abc import Mapping

from pgstrata.errors import InvalidArgumentError
from pgstrata.settings import OWN_SERVER_SETTINGS, SERVER_SETTING, THROW_AWAY_SETTINGS


def check(settings: Mapping[str, str]) -> dict[str, str]:
    """Return a request's settings for its servers, by their names in lower case.

    Raises ``InvalidArgumentError`` for one that cannot be a setting's name, or is not to be set.
    """
    checked = {name.lower(): value for name, value in settings.items()}
    for name, value in checked.items():
        if reason := OWN_SERVER_SETTINGS.get(name):
            raise InvalidArgumentError(
                f"the server setting {name} cannot be set: {reason}", remedy="leave it out"
            )
        if not re.fullmatch(SERVER_SETTING, name) or "\0" in value:
            raise InvalidArgumentError(
                f"there can be no server setting {name!a} with the value {value!a}",
                remedy="correct it: names are of letters, digits and underscores",
            )
    return checked


def own(engine: Mapping[str, str], request: Mapping[str, str]) -> dict[str, str]:
    """Return what a state's content may depend on: what differs from our defaults.

    ``engine``: what differs in an engine. ``request``: a request's own settings, which come first.
    """
    merged = {**engine, **request}
    return {name: value for name, value in merged.items() if THROW_AWAY_SETTINGS.get(name) != value}
