"""How two sets of objects differ: which were added, removed and changed, and a diff. Pure."""

import difflib
from collections.abc import Iterator
from typing import Final, NamedTuple

from pgstrata.diff.dump import Objects

_LONGEST_COMPARED: Final = 3000
"""Objects of more lines are shown whole: finding what they have in common takes too long."""

_NOTHING: Final = "/dev/null"


class Differences(NamedTuple):
    """How one schema becomes another."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    diff: str
    """A unified diff, object by object, ordered by their names; empty without differences."""


def differences(before: Objects, after: Objects) -> Differences:
    """Compare two sets of objects."""
    names = sorted(before.keys() | after.keys())
    differing = [name for name in names if before.get(name) != after.get(name)]
    return Differences(
        added=tuple(name for name in differing if name not in before),
        removed=tuple(name for name in differing if name not in after),
        changed=tuple(name for name in differing if name in before and name in after),
        diff="".join(
            f"{line}\n"
            for name in differing
            for line in _diff(name, before.get(name), after.get(name))
        ),
    )


def _diff(name: str, before: str | None, after: str | None) -> Iterator[str]:
    old, new = (before or "").splitlines(), (after or "").splitlines()
    labels = (
        _NOTHING if before is None else f"a/{name}",
        _NOTHING if after is None else f"b/{name}",
    )
    if max(len(old), len(new)) <= _LONGEST_COMPARED:
        yield from difflib.unified_diff(old, new, *labels, lineterm="")
        return
    yield f"--- {labels[0]}"
    yield f"+++ {labels[1]}"
    yield f"@@ -1,{len(old)} +1,{len(new)} @@"
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)
