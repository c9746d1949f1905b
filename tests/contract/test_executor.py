"""What every executor does, wherever it is: in this process, or in another behind a pipe."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.plan import StateExecuteTask
from pgstrata.domain.reason import Evidence, StepRecord, step_record
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import ConflictError, InvalidArgumentError, StepFailedError
from pgstrata.instances.starting import InstanceOrder
from pgstrata.kinds.memory import MemoryRecipe
from pgstrata.kinds.sources.memory import MemorySources
from pgstrata.prepare import planner
from pgstrata.prepare.executor import Executor, StateOrder
from tests.pipe_executor import executor_behind_a_pipe
from tests.unit.prepare.heart import Heart

Scenario = Callable[[Executor], Coroutine[None, None, None]]
Run = Callable[[Scenario], None]

DEADLINE_SECONDS = 60


@pytest.fixture(params=["local", "pipe"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a scenario on a new executor; one that hangs is a failure that says so."""

    @asynccontextmanager
    async def local() -> AsyncIterator[Executor]:
        yield Heart(tmp_path).executor

    def run(scenario: Scenario) -> None:
        async def bounded() -> None:
            opened = local() if request.param == "local" else executor_behind_a_pipe(tmp_path)
            async with opened as executor, asyncio.timeout(DEADLINE_SECONDS):
                await scenario(executor)

        asyncio.run(bounded())

    return run


async def orders(executor: Executor, *texts: str, job_id: str = "job") -> list[StateOrder]:
    """What is to be done for these steps."""
    image = await executor.resolve_image("postgres:17")
    request = PrepareRequest(
        prepare_kind="memory", image_id="postgres:17", fields={"scripts": texts}
    )
    steps = await MemoryRecipe().steps(
        request, MemorySources({f"/{text}": text.encode() for text in texts})
    )
    chain = planner.chain(image.image_id, steps, server_settings={})
    tasks = planner.tasks(request, chain, frozenset())
    return [
        StateOrder(
            job_id=job_id,
            image_id=image.image_id,
            task=task,
            step=step,
            target=task.output_state_id,
            last=step is steps[-1],
        )
        for task, step in zip(
            (task for task in tasks if isinstance(task, StateExecuteTask)), steps, strict=True
        )
    ]


def ids(orders: list[StateOrder]) -> list[str]:
    return [order.task.output_state_id for order in orders]


def instance_of(order: StateOrder, name: str | None = None) -> InstanceOrder:
    return InstanceOrder(
        job_id=order.job_id,
        image_id=order.image_id,
        state_id=order.task.output_state_id,
        name=name,
        ttl_seconds=60,
    )


async def unheard(line: str) -> None:
    """Whatever the tool says."""


async def build(executor: Executor, order: StateOrder) -> None:
    assert await executor.run_steps([order], unheard)
    await executor.keep_state(order.job_id)


async def begin_and_cancel(executor: Executor, order: StateOrder) -> None:
    """Cancel a step once its tool runs."""
    at_gate = asyncio.Event()

    async def hear(line: str) -> None:
        at_gate.set()

    running = asyncio.create_task(executor.run_steps([order], hear))
    await at_gate.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_an_image_is_resolved_or_refused(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        resolved = await executor.resolve_image("postgres:16.4")
        assert resolved.version == "16.4"
        assert await executor.resolve_image(resolved.image_id) == resolved
        with pytest.raises(InvalidArgumentError) as refused:
            await executor.resolve_image("postgres:99")
        assert refused.value.remedy

    run(scenario)


def test_a_chain_is_built_step_by_step_and_known_afterwards(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        chain = await orders(executor, "a", "b", "c")
        assert (await executor.look_up(ids(chain))).clean == 0
        for count, order in enumerate(chain, start=1):
            await build(executor, order)
            assert (await executor.look_up(ids(chain))).clean == count

    run(scenario)


def record_of(order: StateOrder) -> StepRecord:
    return step_record(order.task.output_state_id, order.task.input, order.step, order.image_parts)


def test_what_a_state_was_made_of_is_evidence_for_steps_like_it(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [built], [other] = [await orders(executor, text) for text in ("a", "b")]
        assert await executor.evidence(ids([other]), record_of(other)) == Evidence()
        await build(executor, built)
        found = await executor.evidence(ids([other]), record_of(other))
        assert found == Evidence(alike=(record_of(built),))
        assert await executor.evidence(ids([other]), None) == Evidence()

    run(scenario)


def test_a_whole_state_is_no_evidence_of_one_that_went(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        await build(executor, order)
        found = await executor.evidence(ids([order]), record_of(order))
        assert found == Evidence(stored=tuple(ids([order])))

    run(scenario)


def test_a_state_that_is_there_is_not_built_again(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        await build(executor, order)
        assert not await executor.run_steps([order], unheard)
        with pytest.raises(ConflictError):
            await executor.keep_state(order.job_id)

    run(scenario)


def on_the_way(chain: list[StateOrder]) -> list[StateOrder]:
    """The same steps, of which only the last is to leave a state."""
    return [replace(order, target=chain[-1].task.output_state_id) for order in chain]


def test_of_steps_on_the_way_to_a_state_only_that_is_kept(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        chain = on_the_way(await orders(executor, "a", "b", "c"))
        for order in chain:
            assert (await executor.look_up(ids(chain))).clean == 0
            assert await executor.run_steps([order], unheard)
        assert await executor.keep_state("job")
        known = await executor.look_up(ids(chain))
        assert (known.clean, known.stored, known.run_before) == (3, (ids(chain)[-1],), 3)
        other = await orders(executor, "a", "b", "x", "c")
        known = await executor.look_up(ids(other))
        assert (known.clean, known.stored, known.run_before) == (0, (), 2)

    run(scenario)


def test_what_steps_have_led_to_so_far_can_be_kept_on_the_way(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        chain = on_the_way(await orders(executor, "a", "b", "c"))
        assert await executor.run_steps([chain[0]], unheard)
        assert await executor.run_steps([chain[1]], unheard)
        assert await executor.keep_state("job")
        assert (await executor.look_up(ids(chain))).clean == 2
        with pytest.raises(ConflictError):
            await executor.keep_state("job")
        assert await executor.run_steps([chain[2]], unheard)
        assert await executor.keep_state("job")
        assert (await executor.look_up(ids(chain))).stored == tuple(ids(chain)[1:])

    run(scenario)


def test_what_another_builds_is_not_kept_on_the_way(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        chain = await orders(executor, "a", "b")
        passing = on_the_way(chain)
        other = replace(chain[0], job_id="other")
        assert await executor.run_steps([passing[0]], unheard)
        assert await executor.run_steps([other], unheard)
        assert not await executor.keep_state("job")
        assert await executor.keep_state("other")
        assert not await executor.keep_state("job")
        assert await executor.run_steps([passing[1]], unheard)
        assert await executor.keep_state("job")
        assert (await executor.look_up(ids(chain))).stored == tuple(ids(chain))

    run(scenario)


def test_after_a_failure_nothing_is_left_of_the_steps_since_the_last_state(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        chain = on_the_way(await orders(executor, "a", "fail"))
        assert await executor.run_steps([chain[0]], unheard)
        with pytest.raises(StepFailedError):
            await executor.run_steps([chain[1]], unheard)
        with pytest.raises(ConflictError):
            await executor.keep_state("job")
        await build(executor, replace(chain[0], target=ids(chain)[0], job_id="other"))

    run(scenario)


def test_what_the_tool_says_comes_in_order_and_before_the_end(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        said: list[str] = []

        async def hear(line: str) -> None:
            await asyncio.sleep(0)
            said.append(line)

        [order] = await orders(executor, "chatter")
        assert await executor.run_steps([order], hear)
        assert said == ["hello", "world"]

    run(scenario)


def test_a_step_that_fails_says_why_and_leaves_nothing_in_the_way(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "fail")
        for job_id in ("one", "two"):
            with pytest.raises(StepFailedError, match="exit code 3") as failed:
                await executor.run_steps([replace(order, job_id=job_id)], unheard)
            assert failed.value.remedy == "correct fail"
            assert failed.value.details == "ERROR: fail"
            assert (await executor.look_up(ids([order]))).clean == 0

    run(scenario)


def test_a_step_that_is_not_kept_is_no_state_and_can_be_run_by_another(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        assert await executor.run_steps([order], unheard)
        assert (await executor.look_up(ids([order]))).clean == 0
        for _ in range(2):
            await executor.close_workspace(order.job_id)
        with pytest.raises(ConflictError):
            await executor.keep_state(order.job_id)
        await build(executor, replace(order, job_id="another"))
        assert (await executor.look_up(ids([order]))).clean == 1

    run(scenario)


def test_a_step_that_another_job_has_run_is_waited_for_until_it_is_kept(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        assert await executor.run_steps([order], unheard)
        other = asyncio.create_task(executor.run_steps([replace(order, job_id="other")], unheard))
        done, _ = await asyncio.wait([other], timeout=0.02)
        assert not done
        await executor.keep_state(order.job_id)
        assert not await other

    run(scenario)


def test_a_step_that_is_cancelled_is_over_and_can_be_run_by_another(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "gate")
        for job_id in ("one", "two"):
            await begin_and_cancel(executor, replace(order, job_id=job_id))
        assert (await executor.look_up(ids([order]))).clean == 0

    run(scenario)


def test_waiting_for_a_step_that_another_runs_can_be_cancelled(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        assert await executor.run_steps([order], unheard)
        other = asyncio.create_task(executor.run_steps([replace(order, job_id="other")], unheard))
        await asyncio.wait([other], timeout=0.02)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other
        await executor.keep_state(order.job_id)

    run(scenario)


def test_several_jobs_are_served_at_once(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [slow] = await orders(executor, "gate", job_id="slow")
        at_gate = asyncio.Event()

        async def hear(line: str) -> None:
            at_gate.set()

        held_up = asyncio.create_task(executor.run_steps([slow], hear))
        await at_gate.wait()
        [quick] = await orders(executor, "a", job_id="quick")
        await build(executor, quick)
        assert not held_up.done()
        held_up.cancel()
        await asyncio.wait([held_up])

    run(scenario)


def test_an_instance_is_started_once_for_a_job_and_has_its_name_until_it_is_discarded(
    run: Run,
) -> None:
    async def scenario(executor: Executor) -> None:
        await executor.check_limits()
        [order] = await orders(executor, "a")
        await build(executor, order)
        wanted = instance_of(order, "mine")
        instance = await executor.start_instance(wanted)
        assert instance.dsn.startswith("postgresql://postgres:")
        assert instance.expires_at is not None
        assert (instance.expires_at - instance.created_at).total_seconds() == 60
        assert await executor.start_instance(wanted) == instance
        with pytest.raises(ConflictError, match=instance.instance_id):
            await executor.check_name("mine")
        for _ in range(2):
            await executor.discard_instance(order.job_id)
        await executor.check_name("mine")

    run(scenario)


def test_of_a_name_that_was_taken_meanwhile_no_instance_is_left(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        await build(executor, order)
        first = await executor.start_instance(instance_of(order, "mine"))
        second = instance_of(replace(order, job_id="second"), "mine")
        with pytest.raises(ConflictError, match=first.instance_id):
            await executor.start_instance(second)
        assert await executor.start_instance(replace(second, name=None)) != first

    run(scenario)


def test_an_instance_of_a_state_that_is_gone_is_refused(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        with pytest.raises(ConflictError, match=order.task.output_state_id):
            await executor.start_instance(instance_of(order))

    run(scenario)


def test_each_lease_on_states_has_an_id_of_its_own_and_may_be_ended_twice(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        chain = ids(await orders(executor, "a", "b"))
        leases = [await executor.acquire(chain) for _ in range(3)]
        assert len(set(leases)) == 3
        for lease_id in (*leases, *leases):
            await executor.release(lease_id)

    run(scenario)


def test_what_is_whole_stays_when_an_executor_recovers(run: Run) -> None:
    async def scenario(executor: Executor) -> None:
        [order] = await orders(executor, "a")
        await build(executor, order)
        instance = await executor.start_instance(instance_of(order))
        await executor.recover()
        assert (await executor.look_up(ids([order]))).clean == 1
        assert await executor.start_instance(instance_of(order)) == instance

    run(scenario)
