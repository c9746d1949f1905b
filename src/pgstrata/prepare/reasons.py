"""Why each state of a chain is cached or must be built. Pure: the evidence is given.

A state that must be built is explained by the first of these that applies: its step can never be
cached; the state existed and was removed; its step was run before and left none; its parent must be
built; a cached state was made by a step that differs from its own only in some inputs; nothing is
known.
"""

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple

from pgstrata.domain.initdb import INITDB_NAMES
from pgstrata.domain.plan import CACHED, Reason, ReasonCode
from pgstrata.domain.reason import (
    ALL_PARTS,
    Evidence,
    Removal,
    RemovedFor,
    StepRecord,
    step_record,
)
from pgstrata.prepare.planner import Chain

_SHORT_ID = 12

_UNCACHEABLE = Reason(
    code="uncacheable", text="what it does cannot be fully known in advance, so it is never cached"
)
_PARENT_MISSING = Reason(code="parent_missing", text="the state it starts from must be built first")
_NOT_KEPT = Reason(
    code="not_kept", text="it was run before, without leaving a state of its own (--states)"
)
_NEVER_BUILT = Reason(
    code="never_built", text="its state is not in the cache, and no similar one is known"
)
_REMOVED: Mapping[RemovedFor, tuple[ReasonCode, str]] = {
    "evicted": ("evicted", "its state was evicted at {} to make room"),
    "dirty": ("dirty", "its state's files were found missing or damaged at {}"),
    "removed": ("removed", "its state was removed at {}"),
}


def missing(chain: Chain, cached: Set[str]) -> tuple[str, ...]:
    """Return the states of a chain that must be built."""
    return tuple(state_id for state_id in chain.state_ids if state_id not in cached)


def first_missing(
    chain: Chain, cached: Set[str], repeated: Set[str] = frozenset()
) -> StepRecord | None:
    """Return the record of the first step that must run and was not before; None if there is none.

    ``repeated``: those states whose steps were run before, though they are not ``cached``.
    """
    for state_id, start, step in zip(chain.state_ids, chain.inputs, chain.steps, strict=True):
        if state_id not in cached and state_id not in repeated:
            return step_record(state_id, start, step, chain.image_parts)
    return None


def explain(
    chain: Chain, cached: Set[str], evidence: Evidence, repeated: Set[str] = frozenset()
) -> dict[str, Reason]:
    """Explain why each state of a chain is ``cached`` or not, by its id.

    ``evidence``: for the ``missing`` states and the ``first_missing`` step. ``repeated``: see
    ``first_missing``.
    """
    reasons: dict[str, Reason] = {}
    first = first_missing(chain, cached, repeated)
    for state_id, step in zip(chain.state_ids, chain.steps, strict=True):
        if state_id in cached:
            reasons[state_id] = CACHED
        elif step.uncacheable:
            reasons[state_id] = _UNCACHEABLE
        elif state_id in evidence.removals:
            reasons[state_id] = _explain_removal(evidence.removals[state_id])
        elif state_id in repeated:
            reasons[state_id] = _NOT_KEPT
        elif first is None or state_id != first.state_id:
            reasons[state_id] = _PARENT_MISSING
        else:
            reasons[state_id] = _compare(first, evidence.alike) or _NEVER_BUILT
    return reasons


def _explain_removal(removal: Removal) -> Reason:
    code, text = _REMOVED[removal.why]
    return Reason(code=code, text=text.format(f"{removal.at:%Y-%m-%d %H:%M:%S} UTC"))


def _image_changed(step: StepRecord, other: StepRecord) -> Reason:
    both = step.image.keys() & other.image.keys()
    changed = [
        name for name in step.image if name in both and step.image[name] != other.image[name]
    ]
    if not changed:
        return _input_changed("image", f"the image differs from {other.start.id}", other)
    text = f"PostgreSQL differs: {', '.join(changed)} changed"
    return _input_changed(changed[0], text, other)


def _made_otherwise(step: StepRecord, other: StepRecord) -> Reason | None:
    """The reason if the clusters of one image were made in different ways."""
    changed = [name for name in INITDB_NAMES if step.image.get(name) != other.image.get(name)]
    if not changed:
        return None
    return _input_changed(changed[0], f"the cluster's {', '.join(changed)} differs", other)


class _Difference(NamedTuple):
    """How a step differs from the one that made another state."""

    other: StepRecord
    changed: Sequence[str]
    """The parts that both have, with different contents."""
    new: Sequence[str]
    gone: Sequence[str]
    same: int
    """How many parts are the same."""

    @property
    def total(self) -> int:
        return len(self.changed) + len(self.new) + len(self.gone)

    @property
    def is_similar(self) -> bool:
        """Whether one may be an edited version of the other."""
        return bool(self.changed) or self.same > self.total > 0


def _compare(step: StepRecord, others: Sequence[StepRecord]) -> Reason | None:
    """Say how a step differs from the most similar one; None if none is similar."""
    same_step = [other for other in others if other.digest == step.digest]
    # Both start from an image. A state's id covers the image and the server's settings, a step's
    # digest neither.
    for other in same_step:
        if other.start == step.start:
            return _made_otherwise(step, other) or _input_changed(
                "server settings", "the server settings differ", other
            )
    for other in same_step:
        return _image_changed(step, other)
    differences = [_difference(step, other) for other in others]
    similar = [difference for difference in differences if difference.is_similar]
    if not similar:
        return None
    nearest = min(similar, key=lambda difference: difference.total)
    name, text = _describe(nearest)
    return _input_changed(name, text, nearest.other)


def _difference(step: StepRecord, other: StepRecord) -> _Difference:
    ours, theirs = step.parts, other.parts
    if (ALL_PARTS in ours) != (ALL_PARTS in theirs):
        return _Difference(other, [ALL_PARTS], [], [], 0)
    both = ours.keys() & theirs.keys()
    changed = sorted(name for name in both if ours[name] != theirs[name])
    new = {name: digest for name, digest in ours.items() if name not in both}
    gone = {name: digest for name, digest in theirs.items() if name not in both}
    renamed = set(new.values()) & set(gone.values())
    return _Difference(
        other,
        changed,
        sorted(name for name, digest in new.items() if digest not in renamed),
        sorted(name for name, digest in gone.items() if digest not in renamed),
        len(both) - len(changed) + len(renamed),
    )


def _describe(difference: _Difference) -> tuple[str, str]:
    """Return one input that differs, and a text that says how, and how many others do."""
    if difference.changed:
        name, how = difference.changed[0], "differs"
    elif difference.new:
        name, how = difference.new[0], "is new"
    else:
        name, how = difference.gone[0], "is gone"
    more = difference.total - 1
    others = f", and {more} more input{'s' if more > 1 else ''}" if more else ""
    return name, f"{name} {how}{others}"


def _input_changed(name: str, text: str, other: StepRecord) -> Reason:
    return Reason(
        code="input_changed",
        text=f"{text} (compared with state {other.state_id[:_SHORT_ID]})",
        input=name,
    )
