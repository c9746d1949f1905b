"""What the filters of ``ls`` mean: names for ids, versions for images, beginnings for whole ids."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgstrata.cli.near import nearest
from pgstrata.cli.options import Given
from pgstrata.cli.targets import PREFIX_LENGTH
from pgstrata.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from pgstrata.client.engine import Engine

STATE_ID_LENGTH = 64
INSTANCE_ID_LENGTH = 32

RESOLVED = re.compile("postgres@sha256:[0-9a-f]{64}")
"""An image that the engine can filter by."""

_BEGINNING = re.compile(f"[0-9a-f]{{{PREFIX_LENGTH},}}", re.IGNORECASE)
_DIGEST = re.compile("(?:postgres)?@?(?:sha256:)?(?P<digest>[0-9a-f]{8,64})")


def complete(engine: "Engine", given: Given) -> Given:
    """Replace names and beginnings of ids by whole ids. Raises ``InvalidArgumentError``,
    ``NotFoundError``."""
    more: list[tuple[str, str]] = []
    if (instance := given.last("--instance")) is not None:
        more.append(("--instance", _instance(engine, instance)))
    if (state := given.last("--state")) is not None:
        more.append(("--state", _state(engine, state)))
    return given._replace(options=(*given.options, *more))


def check_kind(engine: "Engine", kind: str) -> None:
    """Raise ``InvalidArgumentError`` for a kind that there is neither here nor in the engine."""
    from pgstrata.domain.state import SNAPSHOT
    from pgstrata.kinds import plugins

    known = {*plugins.BUILT_IN, SNAPSHOT}
    if kind in known:
        return
    known |= {*plugins.others()[0], *(state.prepare_kind for state in engine.states())}
    if kind not in known:
        meant = nearest(kind, known)
        raise InvalidArgumentError(
            f'there is no kind "{kind}"',
            remedy=f"did you mean {meant}?" if meant else f"there are {', '.join(sorted(known))}",
        )


def _instance(engine: "Engine", word: str) -> str:
    if len(word) == INSTANCE_ID_LENGTH and _BEGINNING.fullmatch(word):
        return word.lower()
    if word and (name := engine.name(word)) is not None and name.instance_id is not None:
        return name.instance_id
    prefixed = bool(_BEGINNING.fullmatch(word))
    found = [item.instance_id for item in engine.instances(id_prefix=word)] if prefixed else []
    return _only(word, "instance", found)


def _state(engine: "Engine", word: str) -> str:
    if len(word) == STATE_ID_LENGTH and _BEGINNING.fullmatch(word):
        return word.lower()
    if word and (name := engine.name(word)) is not None:
        return name.state_id
    found = engine.states(id_prefix=word) if _BEGINNING.fullmatch(word) else []
    named = [item for item in engine.states(name=word) if word and item.name == word]
    return _only(word, "state", [item.state_id for item in named or found])


def _only(word: str, what: str, found: list[str]) -> str:
    if len(found) > 1:
        raise InvalidArgumentError(
            f'"{word}" matches {len(found)} {what}s', remedy="give more of the id"
        )
    if not found:
        raise NotFoundError(
            f'there is no {what} "{word}"',
            remedy=f"give a name, or {PREFIX_LENGTH} or more characters of an id, from `pgstrata "
            "ls --all`",
        )
    return found[0]


def image_filter(wanted: str, version_of: Callable[[str], str | None]) -> Callable[[str], bool]:
    """Whether an image is meant: by its version or the beginning of it, or by its digest."""
    digest = _DIGEST.fullmatch(wanted)
    version = wanted.removeprefix("postgres").removeprefix(":")

    def meant(image_id: str) -> bool:
        if digest is not None and "sha256:" + digest["digest"] in image_id:
            return True
        known = version_of(image_id) or ""
        return not version or known == version or known.startswith(f"{version}.")

    return meant
