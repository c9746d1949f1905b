"""The client for programs that wait: ``pgstrata.Client``.

Its methods are ``client.operations``, and what is made of several of them.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import msgspec

from pgstrata.api.jobs import JobStatus
from pgstrata.client import operations, place
from pgstrata.client.channel import Channel
from pgstrata.client.database import Database
from pgstrata.client.following import HOUR, Following, first_wait, left, stopped
from pgstrata.client.interrupts import defer_interrupts
from pgstrata.client.operation import Operation
from pgstrata.client.recipes import Recipe, completed
from pgstrata.config.model import Configuration
from pgstrata.domain.job import Event, Result
from pgstrata.domain.listing import InstanceEntry
from pgstrata.domain.reason import Explanation
from pgstrata.domain.request import PrepareRequest
from pgstrata.domain.state import State
from pgstrata.errors import NotFoundError, PgstrataError, RangeNotSatisfiableError, UnreachableError

P = ParamSpec("P")
T = TypeVar("T")


def _ask(operation: Operation[P, T]) -> Callable[Concatenate[Any, P], T]:
    def method(self: "Section", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._channel.ask(operation(*args, **kwargs))

    operation.dress(method)
    return method


def _stream(operation: Operation[P, Iterator[T]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    def method(self: "Section", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._channel.stream(operation(*args, **kwargs))

    operation.dress(method)
    return method


class Section:
    """Some of the operations, through a client's channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel


class States(Section):
    """The states in the cache."""

    list = _stream(operations.list_states)
    get = _ask(operations.get_state)
    remove = _ask(operations.delete_state)
    pin = _ask(operations.pin_state)
    unpin = _ask(operations.unpin_state)
    warm = _ask(operations.warm_state)


class Instances(Section):
    """The instances."""

    list = _stream(operations.list_instances)
    get = _ask(operations.get_instance)
    remove = _ask(operations.delete_instance)
    reset = _ask(operations.reset_instance)
    snapshot = _ask(operations.snapshot_instance)
    start = _ask(operations.start_instance)
    hold = _stream(operations.hold_instance)
    run = _stream(operations.run)


class Names(Section):
    """The names of instances."""

    list = _stream(operations.list_names)
    get = _ask(operations.get_name)
    bind = _ask(operations.bind_name)
    unbind = _ask(operations.unbind_name)


class Jobs(Section):
    """The jobs, and what they do."""

    submit = _ask(operations.submit_job)
    list = _stream(operations.list_jobs)
    get = _ask(operations.get_job)
    remove = _ask(operations.delete_job)
    cancel = _ask(operations.cancel_job)
    events = _stream(operations.follow_events)
    tasks = _stream(operations.list_tasks)


class Images(Section):
    """The PostgreSQLs that images stand for."""

    get = _ask(operations.get_image)


class Cache(Section):
    """The cache of states."""

    status = _ask(operations.get_cache_status)
    explain = _ask(operations.explain_prepare)
    verify = _stream(operations.verify_cache)


class Config(Section):
    """The engine's settings."""

    get = _ask(operations.get_config)
    set = _ask(operations.set_config)
    remove = _ask(operations.remove_config)
    schema = _ask(operations.get_config_schema)


class Client(Section):
    """An engine: the one that is configured, found, or started at the first call.

    Which one that is, and what recipes are completed with, is configured as for a command in the
    current directory: by what is given here, ``PGSTRATA_…`` variables, the project's file and the
    user's. ``timeout``: how many seconds the engine may be silent. Any number of threads may use a
    client. Every method raises ``PgstrataError``, of which each kind has a class and a ``code``.
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        token: str | None = None,
        store: str | os.PathLike[str] | None = None,
        image: str | None = None,
        timeout: int | None = None,
        profile: str | None = None,
    ) -> None:
        self._open(
            place.configuration(
                endpoint=endpoint,
                token=token,
                store=store,
                image=image,
                timeout=timeout,
                profile=profile,
            )
        )

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> Self:
        """A client that variables alone configure, and no file: the process's, or these."""
        client = cls.__new__(cls)
        client._open(place.of_environment(environment))
        return client

    def _open(self, configuration: Configuration) -> None:
        super().__init__(Channel(configuration))
        self.configuration = configuration
        self.states = States(self._channel)
        self.instances = Instances(self._channel)
        self.names = Names(self._channel)
        self.jobs = Jobs(self._channel)
        self.images = Images(self._channel)
        self.cache = Cache(self._channel)
        self.config = Config(self._channel)

    health = _ask(operations.get_health)
    status = _ask(operations.get_status)
    diff = _ask(operations.diff)

    def prepare(
        self,
        recipe: Recipe,
        *,
        name: str | None = None,
        replace: bool = False,
        ttl: int | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> "Instance":
        """An instance of the recipe's last state, which is built if it is not cached.

        ``name`` and ``replace``: what it is called, in place of the one that is called so.
        ``ttl``: how many seconds it lives; by default as configured. ``timeout``: after how many
        seconds the job is stopped, as it is by Ctrl+C. ``on_event`` is told what the job does.
        """
        request = self._request(
            recipe,
            instance_name=name,
            replace=replace,
            instance_ttl=ttl,
            labels=dict(labels or {}),
        )
        result = self._finished(request, timeout, on_event).result()
        assert result is not None
        return Instance(self, result)

    @contextmanager
    def instance(
        self,
        recipe: Recipe,
        *,
        ttl: int = HOUR,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Iterator["Instance"]:
        """An instance for the block, removed at its end, whoever is connected.

        ``ttl``: how many seconds it lives if the program is killed. The others: see ``prepare``.
        """
        made = self.prepare(recipe, ttl=ttl, labels=labels, timeout=timeout, on_event=on_event)
        try:
            yield made
        finally:
            made.remove()

    def build(self, recipe: Recipe, *, timeout: float | None = None) -> str:
        """The id of the recipe's last state, which is built if it is not cached."""
        found = self.explain(recipe)
        if found.decision == "hit" and found.matched_state_id is not None:
            return found.matched_state_id
        with self.instance(recipe, timeout=timeout) as made:
            return made.state_id

    def plan(self, recipe: Recipe, *, timeout: float | None = None) -> JobStatus:
        """The steps as the tasks of a job that made nothing, and which are cached."""
        request = msgspec.structs.replace(self._request(recipe), plan_only=True)
        return self.jobs.get(self._finished(request, timeout, None).job_id)

    def explain(self, recipe: Recipe) -> Explanation:
        """Whether the recipe's last state is cached and, if not, why."""
        return self.cache.explain(self._request(recipe))

    def close(self) -> None:
        """Close the connections. The next call opens one."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _request(self, recipe: Recipe, **instance: Any) -> PrepareRequest:
        request = completed(recipe, self.configuration, **instance)
        if recipe.before is None:
            return request
        return msgspec.structs.replace(request, start_from=self.build(recipe.before))

    def _finished(
        self,
        request: PrepareRequest,
        timeout: float | None,
        on_event: Callable[[Event], None] | None,
    ) -> Following:
        deadline = None if timeout is None else time.monotonic() + timeout
        job: Following | None = None
        try:
            # Nobody else knows what is submitted.
            with defer_interrupts():
                wait = first_wait(timeout, watched=on_event is not None)
                job = Following(self.jobs.submit(request, wait=wait))
            while not job.ended:
                self._follow(job, deadline, on_event)
        except BaseException:
            if job is not None:
                self._abandon(job)
            raise
        return job

    def _follow(
        self, job: Following, deadline: float | None, on_event: Callable[[Event], None] | None
    ) -> None:
        """Read a job's events up to its last, or until the engine is lost."""
        events = operations.follow_events(job.job_id, start=job.next)
        try:
            for event in self._channel.stream(events, silence=left(deadline)):
                job.take(event)
                if on_event is not None:
                    on_event(event)
                left(deadline)
        except RangeNotSatisfiableError:
            job.next = 0
        except UnreachableError as error:
            left(deadline)
            job.lose(error)
        else:
            if not job.ended:
                job.lose(stopped())

    def _abandon(self, job: Following) -> None:
        """See to it that a job that nobody waits for makes no instance."""
        with suppress(PgstrataError):
            if not job.ended:
                self.jobs.cancel(job.job_id)
            if (result := self.jobs.get(job.job_id).result) is not None:
                self.instances.remove(result.instance_id, force=True)


class Instance(Database):
    """A database of one's own: a server that was cloned from a state."""

    def __init__(self, client: Client, result: Result) -> None:
        super().__init__(result.dsn)
        self._client = client
        self.id = result.instance_id
        self.state_id = result.state_id
        self.image_id = result.image_id

    def reset(self, *, force: bool = True) -> InstanceEntry:
        """Put it back to its state; the DSN stays. Clients are disconnected with ``force``."""
        return self._client.instances.reset(self.id, force=force)

    def snapshot(self, name: str | None = None, *, force: bool = True) -> State:
        """Keep what is in it as a state."""
        return self._client.instances.snapshot(self.id, name=name, force=force)

    def remove(self, *, force: bool = True) -> None:
        """Remove it, if it is still there."""
        with suppress(NotFoundError):
            self._client.instances.remove(self.id, force=force)
