"""Parameters of operations: described once, and read and checked alike everywhere.

Query parameters that nobody asks for are ignored.
"""

import re
from typing import Final

from starlette.requests import Request

from pgstrata.errors import InvalidArgumentError
from pgstrata.httpapi.routing import Parameter

FLAG_VALUES: Final = {"false": False, "0": False, "true": True, "1": True, "": True}
"""How a flag is written, and what that means; ``?force`` alone has the empty value."""

ID_PREFIX_PATTERN: Final = "^[0-9A-Fa-f]{8,}$"
_ID_PREFIX = re.compile(ID_PREFIX_PATTERN.strip("^$"))


def path_id(description: str) -> Parameter:
    """The ``{id}`` of a path."""
    return Parameter(name="id", location="path", description=description)


def text_parameter(name: str, description: str) -> Parameter:
    """A filter in the query; empty, it is as if it were left out."""
    return Parameter(name=name, description=description)


def flag_parameter(name: str, description: str) -> Parameter:
    """A boolean in the query, false when left out."""
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


def flag(request: Request, name: str) -> bool:
    """A boolean, False when left out. Raises ``InvalidArgumentError`` for another word."""
    value = request.query_params.get(name, "false")
    if value not in FLAG_VALUES:
        raise InvalidArgumentError(
            f"`{name}` must be true or false.", remedy=f"Write {name}=true, or omit it."
        )
    return FLAG_VALUES[value]


def text_filter(request: Request, name: str) -> str | None:
    """A filter's value; None when it is left out or empty, which both mean no filter."""
    return request.query_params.get(name) or None


def id_prefix(request: Request) -> str:
    """The first characters of an id in lower case, empty when left out.

    Raises ``InvalidArgumentError`` when they are too few to mean one thing, or not hex.
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
