"""Parameters of operations: described once, and read and checked the same way everywhere.

Unknown query parameters are ignored.
"""

import re
from typing import Final

from starlette.requests import Request

from pgstrata.errors import InvalidArgumentError
from pgstrata.httpapi.routing import Parameter

FLAG_VALUES: Final = {"false": False, "0": False, "true": True, "1": True, "": True}
"""The values of a flag and their meaning; ``?force`` alone has the empty value."""

ID_PREFIX_PATTERN: Final = "^[0-9A-Fa-f]{8,}$"
SECONDS_PATTERN: Final = "^[0-9]{1,4}$"
NUMBER_PATTERN: Final = "^[0-9]{1,9}$"
_NUMBER = re.compile(NUMBER_PATTERN.strip("^$"), re.ASCII)
_SECONDS = re.compile(SECONDS_PATTERN.strip("^$"), re.ASCII)

_ID_PREFIX = re.compile(ID_PREFIX_PATTERN.strip("^$"))


def path_id(description: str) -> Parameter:
    """Describe the ``{id}`` of a path."""
    return Parameter(name="id", location="path", description=description)


def text_parameter(name: str, description: str) -> Parameter:
    """Describe a filter in the query; an empty one is ignored."""
    return Parameter(name=name, description=description)


def number_parameter(name: str, description: str) -> Parameter:
    """Describe a whole number in the query."""
    return Parameter(name=name, description=description, pattern=NUMBER_PATTERN)


def flag_parameter(name: str, description: str) -> Parameter:
    """Describe a boolean in the query, false if omitted and nothing else is said."""
    return Parameter(
        name=name, description=f"{description} Empty means true.", choices=tuple(FLAG_VALUES)
    )


FORCE = flag_parameter("force", "Proceed although it is in use.")
RECURSE = flag_parameter("recurse", "Also delete everything made from it.")
DRY_RUN = flag_parameter("dry_run", "Change nothing; only report what would happen.")

IMAGE = text_parameter("image", "Only those of this resolved image.")
STATE = text_parameter("state", "Only those cloned from the state with this id.")
ID_PREFIX = Parameter(
    name="id_prefix",
    description="Only ids that start with this: at least 8 hexadecimal digits, in any case.",
    pattern=ID_PREFIX_PATTERN,
)


def flag(request: Request, name: str, *, omitted: bool = False) -> bool:
    """Read a boolean, ``omitted`` if it is. Raises ``InvalidArgumentError`` for any other value."""
    value = request.query_params.get(name, str(omitted).lower())
    if value not in FLAG_VALUES:
        raise InvalidArgumentError(
            f"`{name}` must be true or false.", remedy=f"Write {name}=true, or omit it."
        )
    return FLAG_VALUES[value]


def seconds(request: Request, name: str) -> int:
    """Read a whole number of seconds, 0 if omitted. Raises ``InvalidArgumentError``."""
    value = request.query_params.get(name, "0")
    if not _SECONDS.fullmatch(value):
        raise InvalidArgumentError(
            f"`{name}` must be a whole number of seconds, at most 9999.",
            remedy=f"Write {name}=60, or omit it.",
        )
    return int(value)


def number(request: Request, name: str) -> int | None:
    """Read a whole number, None if omitted. Raises ``InvalidArgumentError``."""
    value = request.query_params.get(name)
    if value is not None and not _NUMBER.fullmatch(value):
        raise InvalidArgumentError(
            f"`{name}` must be a whole number of at most nine digits.",
            remedy=f"Write {name}=100, or omit it.",
        )
    return None if value is None else int(value)


def text_filter(request: Request, name: str) -> str | None:
    """Read a filter's value; None if it is omitted or empty, which both mean no filter."""
    return request.query_params.get(name) or None


def id_prefix(request: Request) -> str:
    """Read the first characters of an id, in lower case; empty if omitted.

    Raises ``InvalidArgumentError`` if there are too few to identify one item, or they are not hex.
    """
    prefix = request.query_params.get("id_prefix")
    if prefix is None:
        return ""
    if not _ID_PREFIX.fullmatch(prefix):
        raise InvalidArgumentError(
            "`id_prefix` must be at least 8 hexadecimal digits.",
            remedy="Give more of the id, or omit id_prefix.",
        )
    return prefix.lower()
