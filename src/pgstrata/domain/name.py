"""A name that a person gave to an instance, and that outlives it, with its port and password."""

import re
from datetime import datetime

from pgstrata.domain.instance import Address, Instance
from pgstrata.domain.model import Model

LONGEST_NAME = 63

_ID = re.compile("([0-9a-f]{32}){1,2}", re.IGNORECASE)


class Name(Model, frozen=True, kw_only=True):
    """One name, and what is known of the instance that has it, or had it last."""

    name: str
    image_id: str
    state_id: str
    address: Address
    """Where the instances with this name are, one after the other."""
    last_used_at: datetime
    """When an instance got it last."""


def name_of(instance: Instance, used_at: datetime) -> Name:
    """The name of an instance, which must have one, with what it has to be remembered by."""
    assert instance.name is not None
    return Name(
        name=instance.name,
        image_id=instance.image_id,
        state_id=instance.state_id,
        address=instance.server.endpoint.address,
        last_used_at=used_at,
    )


def invalid(name: str) -> str | None:
    """Why no instance can have this name, for people; None if one can."""
    if not name:
        return "it is empty"
    if len(name) > LONGEST_NAME:
        return f"it has more than {LONGEST_NAME} characters"
    if "/" in name or name in (".", ".."):
        return "it would be another path of the API"
    if not name.isprintable() or name != name.strip():
        return "it has blanks around it, or characters that cannot be printed"
    if name.startswith("-"):
        return "it looks like an option"
    if _ID.fullmatch(name):
        return "it looks like an id"
    return None
