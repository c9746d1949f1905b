"""Results of deletions on the wire, at any depth."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.api.codec import decode, encode
from pgstrata.domain.deletion import DeleteNode, DeleteResult

DEPTH = 10_000

_NODES = st.recursive(
    st.builds(DeleteNode, kind=st.sampled_from(("state", "instance")), id=st.text()),
    lambda below: st.builds(
        DeleteNode,
        kind=st.just("state"),
        id=st.sampled_from(("a", '"children":[{', '\\"', "]}", '{"root":')),
        blocked=st.sampled_from((None, "active_tasks")),
        children=st.lists(below, max_size=3).map(tuple),
    ),
)
_RESULTS = st.builds(
    DeleteResult,
    dry_run=st.booleans(),
    outcome=st.sampled_from(("deleted", "would_delete", "blocked")),
    root=_NODES,
)


def chain(depth: int, *, beside: int = 0) -> DeleteResult:
    """A chain of states, each with so many more children of its own."""
    others = tuple(DeleteNode(kind="instance", id=f"{n}", connections=n) for n in range(beside))
    node = DeleteNode(kind="state", id="last")
    for number in range(depth):
        node = DeleteNode(kind="state", id=f"{number}", children=(*others, node, *others))
    return DeleteResult(dry_run=False, outcome="deleted", root=node)


@given(result=_RESULTS)
def test_a_result_is_the_json_that_its_model_says_and_comes_back(result: DeleteResult) -> None:
    assert encode(result) == msgspec.json.encode(result)
    assert decode(encode(result), DeleteResult) == result


@pytest.mark.parametrize("beside", [0, 1])
def test_a_chain_of_any_length_goes_over_the_wire(beside: int) -> None:
    sent = encode(chain(DEPTH, beside=beside))
    node: DeleteNode | None = decode(sent, DeleteResult).root
    depth = 0
    while node is not None and node.children:
        assert len(node.children) == 1 + 2 * beside
        node, depth = node.children[beside], depth + 1
    assert depth == DEPTH
    assert node == DeleteNode(kind="state", id="last")


@given(result=_RESULTS, indent=st.integers(0, 3))
def test_white_space_and_unknown_fields_change_nothing(result: DeleteResult, indent: int) -> None:
    plain: dict[str, Any] = json.loads(encode(result))
    waiting = [plain, plain["root"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("children", [])
        for key in ("children", "root"):
            node[f"later_{key}"] = {key: [{key: {}}, '"children": [']}
    newer = json.dumps(dict(reversed(plain.items())), indent=indent).encode()
    assert decode(newer, DeleteResult) == result


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "{}", "tea", '{"dry_run": true, "outcome": "deleted"}', '{"root": {'),
        '{"dry_run": true, "outcome": "deleted", "root": null}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state"}}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state", "id": "a"',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state", "id": "a"}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state", "id": "a"}}}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "tea", "id": "a"}}',
        '{"dry_run": 1, "outcome": "deleted", "root": {"kind": "state", "id": "a"}}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state", "id": "a", '
        '"children": [1]}}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state", "id": "a", '
        '"children": {}}}',
        '{"dry_run": true, "outcome": "deleted", "root": {"kind": "state", "id": "a", '
        '"children": [{"kind": "state"}]}}',
    ],
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(text.encode(), DeleteResult)
