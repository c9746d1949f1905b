"""A real engine's answers, read by a client that refuses whatever the contract does not have."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec
import psycopg
import pytest
import requests

from tests import shapes
from tests.acceptance.conftest import Terminal
from tests.filesystems import memory_place
from tests.shapes import check


class Client:
    """Asks an engine, and checks the shape of what it answers."""

    def __init__(self, pgstrata: Terminal) -> None:
        pgstrata("engine", "start")
        file = pgstrata.engine_file()
        self._endpoint = file["endpoint"]
        self._headers = {"Authorization": f"Bearer {file['authToken']}"}
        self._work_dir = str(pgstrata.work)

    def ask(
        self,
        method: str,
        path: str,
        shape: Any,
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        json: Any = None,
    ) -> Any:
        answer = requests.request(
            method,
            f"{self._endpoint}/v1/{path}",
            headers={**self._headers, **(headers or {})},
            json=json,
            timeout=300,
        )
        assert answer.status_code == status, answer.text
        return check(answer.content, shape)

    def events(self, job_id: str) -> list[shapes.Event]:
        """All events of a job; returns when it is at its end."""
        answer = requests.get(
            f"{self._endpoint}/v1/prepare-jobs/{job_id}/events", headers=self._headers, timeout=300
        )
        return [check(line, shapes.Event) for line in answer.content.splitlines()]

    def prepared(self, *args: str, **fields: Any) -> shapes.JobStatus:
        """A job at its end, every answer on the way checked."""
        request = {
            "prepare_kind": "psql",
            "image_id": "postgres",
            "psql_args": args,
            "work_dir": self._work_dir,
            **fields,
        }
        accepted = self.ask("POST", "prepare-jobs", shapes.Accepted, status=201, json=request)
        events = self.events(accepted.job_id)
        assert [event.type for event in events[:2]] == ["status", "status"]
        job = self.ask("GET", f"prepare-jobs/{accepted.job_id}", shapes.JobStatus)
        assert events[-1].status == job.status
        assert isinstance(job, shapes.JobStatus)
        return job


@pytest.fixture
def client(shared: Terminal) -> Client:
    return Client(shared)


@pytest.fixture(scope="module")
def empty() -> Iterator[Client]:
    """A client of an engine that never gets anything to do."""
    with memory_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        yield Client(terminal)
        terminal.tear_down()


def test_what_a_job_and_all_that_comes_of_it_look_like(pgstrata: Terminal) -> None:
    client = Client(pgstrata)
    client.ask("GET", "health", shapes.Health)
    planned = client.prepared("-c", "create table t ()", plan_only=True)
    assert planned.plan_only is True
    job = client.prepared(
        *("-c", "create table t ()", "-c", "create table u ()"),
        instance_name="shop",
        instance_ttl=3600,
    )
    assert isinstance(job.result, shapes.Result)
    for listed in (f"?job={job.job_id[:8]}", ""):
        assert client.ask("GET", f"prepare-jobs{listed}", list[shapes.JobEntry])
    kinds = [type(task) for task in client.ask("GET", "tasks", list[shapes.TaskEntry])]
    assert set(kinds) == {
        shapes.PlanEntry,
        shapes.ResolveImageEntry,
        shapes.StateExecuteEntry,
        shapes.PrepareInstanceEntry,
    }
    assert _reasons(planned) == ["never_built"]
    assert _reasons(job) == ["never_built", "parent_missing"]
    changed = client.prepared("-c", "create table other ()", plan_only=True)
    assert _reasons(changed) == ["input_changed"]
    states = client.ask("GET", "states", list[shapes.StateEntry])
    assert [state.refcount for state in states] == [0, 1]
    client.ask("GET", f"states/{job.result.state_id}", shapes.StateEntry)
    client.ask("GET", "cache/status", shapes.CacheStatus)
    [instance] = client.ask("GET", "instances", list[shapes.InstanceEntry])
    assert client.ask("GET", "instances/shop", shapes.InstanceEntry) == instance
    [name] = client.ask("GET", "names", list[shapes.NameEntry])
    assert client.ask("GET", "names/shop", shapes.NameEntry) == name


def _reasons(job: shapes.JobStatus) -> list[str]:
    assert not isinstance(job.tasks, msgspec.UnsetType)
    steps = [task for task in job.tasks if isinstance(task, shapes.StateExecute)]
    return [step.reason.code for step in steps if isinstance(step.reason, shapes.Reason)]


def test_what_deletions_look_like(client: Client) -> None:
    job = client.prepared("-c", "create table t ()", "-c", "create table u ()")
    assert isinstance(job.result, shapes.Result)
    [first, _] = client.ask("GET", "states", list[shapes.StateEntry])
    root, instance = f"states/{first.state_id}", f"instances/{job.result.instance_id}"
    tree = client.ask("DELETE", f"{root}?recurse&dry_run", shapes.DeleteResult)
    assert tree.root.children[0].children[0].kind == "instance"
    client.ask("DELETE", root, shapes.DeleteResult, status=409)
    with closing(psycopg.connect(job.result.dsn)):
        client.ask("DELETE", instance, shapes.DeleteResult, status=409)
    client.ask("DELETE", f"{root}?recurse&force", shapes.DeleteResult)
    client.ask("DELETE", f"prepare-jobs/{job.job_id}", shapes.DeleteResult)


@pytest.mark.parametrize(
    ("sql", "words"),
    [("select * from nowhere", 'relation "nowhere" does not exist'), ("select 1/0", "by zero")],
)
def test_a_failed_job_says_what_to_do_and_then_what_the_tool_said(
    client: Client, sql: str, words: str
) -> None:
    job = client.prepared("-c", sql)
    assert job.status == "failed"
    assert isinstance(job.error, shapes.Error)
    assert isinstance(job.error.details, str)
    remedy, blank, *said = job.error.details.split("\n")
    assert (remedy != "", blank) == (True, "")
    assert words in "\n".join(said)
    [told] = [event.error for event in client.events(job.job_id) if event.type == "error"]
    assert told == job.error


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nowhere", 404),
        ("PUT", "states", 405),
        ("GET", "states/none", 404),
        ("GET", "states?id_prefix=xyz", 400),
        ("DELETE", "instances/none", 404),
        ("DELETE", "prepare-jobs/none?force=perhaps", 400),
        ("POST", "prepare-jobs/none/cancel", 404),
        ("POST", "prepare-jobs", 400),
        ("GET", "names/none", 404),
    ],
)
def test_what_refusals_look_like(empty: Client, method: str, path: str, status: int) -> None:
    empty.ask(method, path, shapes.Error, status=status)
    unknown = {"Authorization": "Bearer none"}
    empty.ask(method, path, shapes.Error, status=401, headers=unknown)


@pytest.mark.parametrize(
    "fields",
    [
        {"prepare_kind": "flyway"},
        {"image_id": "postgres:1"},
        {"psql_args": ["-f", "none.sql"]},
        {"psql_args": ["-f"]},
        {"psql_args": "-f"},
        {"work_dir": "/none"},
        {"prepare_kind": "lb", "psql_args": []},
    ],
)
def test_what_bad_requests_look_like(empty: Client, fields: dict[str, Any]) -> None:
    request = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": ["-c", "select 1"]}
    empty.ask("POST", "prepare-jobs", shapes.Error, status=400, json=request | fields)
