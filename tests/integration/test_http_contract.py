"""The OpenAPI document against the answers it describes, over real connections."""

import asyncio

import pytest

from tests.http_contract import check_contract
from tests.http_server import served
from tests.unit.httpapi.driver import TOKEN
from tests.unit.httpapi.engine import MemoryEngine
from tests.unit.httpapi.samples import a_name, a_state, an_instance

IDS = [f"{number:02x}" for number in range(1, 9)]


def filled_engine() -> MemoryEngine:
    """An engine with some of everything, and some of it in use."""
    engine = MemoryEngine(at_once=True)
    for number in IDS:
        asyncio.run(engine.job())
        state, instance = a_state(number * 32), an_instance(number * 16, name=f"db{number}")
        child = a_state(f"f{number}a" * 16, parent=state.state_id)
        engine.state_rows |= {state.state_id: state, child.state_id: child}
        engine.instance_rows[instance.instance_id] = instance
        engine.name_rows[f"db{number}"] = a_name(f"db{number}", instance_id=instance.instance_id)
    engine.in_use = set(list(engine.instance_rows)[::2])
    return engine


@pytest.mark.parametrize("examples", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_the_engine_does_exactly_what_its_document_says(examples: int) -> None:
    with served(filled_engine().service, TOKEN) as url:
        check_contract(url, TOKEN, max_examples=examples)
