"""Names made of content: what a step, a state and a job are called. Pure hashing, nothing else.

Everything is hashed as canonical JSON: UTF-8, object keys sorted, no white space, every character
outside ASCII escaped, no floating point infinities. Two different structures never have the same
encoding, so nothing can be moved from one field into its neighbour without a new name.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

RECIPE_FORMAT = 1
"""Part of every step's digest. Raise it when the same step would come to make another state."""

_AT_A_TIME = 1000

Content = str | int | bool | None | Sequence["Content"] | Mapping[str, "Content"]
"""What can be hashed: plain data as JSON knows it."""


def canonical(content: Content) -> bytes:
    """The one encoding of ``content``, as this module describes it."""
    return json.dumps(
        content, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def digest(content: Content) -> str:
    """Hex SHA-256 of the canonical encoding."""
    return hashlib.sha256(canonical(content)).hexdigest()


def list_digest(title: str, items: Iterable[Content]) -> str:
    """What ``digest([title, [...]])`` is of however many items, a few at a time."""
    hashed = hashlib.sha256(b"[" + canonical(title) + b",[")
    items, comma = iter(items), b""
    while some := list(islice(items, _AT_A_TIME)):
        hashed.update(comma + canonical(some)[1:-1])
        comma = b","
    hashed.update(b"]]")
    return hashed.hexdigest()


def step_digest(kind: str, content: Content) -> str:
    """The name of a step: ``content`` is all that can change its result, and nothing else."""
    return digest(["step", RECIPE_FORMAT, kind, content])


def root_id(image_id: str, server_settings: Mapping[str, str]) -> str:
    """The name of what the first step starts from: the image, its servers set like this.

    The same step can make another state under another setting, of how dates are read, say.
    """
    return digest(["root", image_id, server_settings]) if server_settings else image_id


def state_id(parent_id: str, step_digest: str) -> str:
    """The name of the state that a step makes of its parent, a state's id or a ``root_id``."""
    return digest(["state", parent_id, step_digest])


def instance_id(job_id: str) -> str:
    """The id of the instance that a job makes: one, however often an engine is killed over it."""
    return digest(["instance", job_id])[:32]


def signature(*, kind: str, image_id: str, state_id: str, plan_only: bool) -> str:
    """What jobs have in common that ask for the same: the last state says all about the steps."""
    return digest(["job", kind, image_id, state_id, plan_only])
