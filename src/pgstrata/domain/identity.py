"""Names of steps, states and jobs, made from their content. Pure hashing.

Everything is hashed as canonical JSON: UTF-8, sorted object keys, no white space, all characters
outside ASCII escaped, no floating-point infinities. Different structures never have the same
encoding, so moving something from one field to the next always changes the name.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

RECIPE_FORMAT = 2
"""Part of every step's digest. Increase it when the same step would make a different state."""

_AT_A_TIME = 1000
_PIECE = 1 << 16
"""How many characters are encoded at once: nobody else runs meanwhile."""

Content = str | int | bool | None | Sequence["Content"] | Mapping[str, "Content"]
"""What can be hashed: plain data that JSON can represent."""


def canonical(content: Content) -> bytes:
    """Encode ``content`` as canonical JSON."""
    return json.dumps(
        content, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")
    ).encode()


def digest(content: Content) -> str:
    """Return the hex SHA-256 of the canonical encoding, of a long text piece by piece."""
    if not isinstance(content, str) or len(content) <= _PIECE:
        return hashlib.sha256(canonical(content)).hexdigest()
    hashed = hashlib.sha256(b'"')
    for start in range(0, len(content), _PIECE):
        hashed.update(canonical(content[start : start + _PIECE])[1:-1])
    hashed.update(b'"')
    return hashed.hexdigest()


def list_digest(title: str, items: Iterable[Content]) -> str:
    """Return ``digest([title, [*items]])``, encoding only a batch of items at a time."""
    hashed = hashlib.sha256(b"[" + canonical(title) + b",[")
    items, comma = iter(items), b""
    while some := list(islice(items, _AT_A_TIME)):
        hashed.update(comma + canonical(some)[1:-1])
        comma = b","
    hashed.update(b"]]")
    return hashed.hexdigest()


def step_digest(kind: str, content: Content) -> str:
    """Name a step: ``content`` is everything that can change its result, and nothing else."""
    return digest(["step", RECIPE_FORMAT, kind, content])


_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def root_id(
    image_id: str, server_settings: Mapping[str, str], initdb: Mapping[str, str] = _NO_OPTIONS
) -> str:
    """Name what the first step starts from: the image with these server settings.

    The same step can make a different state with other settings, such as how dates are read.
    ``initdb``: what differs from the default of how its cluster is made.
    """
    if initdb:
        return digest(["root", image_id, dict(server_settings), dict(initdb)])
    return digest(["root", image_id, server_settings]) if server_settings else image_id


def base_id(image_id: str, initdb: Mapping[str, str]) -> str:
    """Name the cluster right after initdb: for a default one, what its image is named."""
    return f"{image_id}+{digest(dict(initdb))[:16]}" if initdb else image_id


def state_id(parent_id: str, step_digest: str) -> str:
    """Name the state that a step makes from its parent, which is a state or a ``root_id``."""
    return digest(["state", parent_id, step_digest])


def snapshot_id(token: str) -> str:
    """Name what was in an instance at some time, which nobody can make again.

    ``token``: something that was never used before. No recipe leads to the result.
    """
    return digest(["snapshot", token])


def instance_id(job_id: str) -> str:
    """Name the instance that a job makes: the same however often an engine is killed meanwhile."""
    return digest(["instance", job_id])[:32]


def signature(*, kind: str, image_id: str, state_id: str, plan_only: bool) -> str:
    """Return what identical jobs have in common: the last state stands for all the steps."""
    return digest(["job", kind, image_id, state_id, plan_only])
