"""Engines in the foreground, as somebody would start them who lets others in."""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.conftest import Terminal
from tests.filesystems import memory_place
from tests.resilience.engine import Engine


@contextmanager
def serving(*options: str) -> Iterator[tuple[Engine, Terminal]]:
    """An engine that was started with these options, and a shell that finds it."""
    with memory_place() as home:
        terminal = Terminal(home)
        terminal.work.mkdir()
        engine = Engine(terminal.store)
        engine.options = (*engine.options, *options)
        assert engine.start(), engine.said
        try:
            yield engine, terminal
            for instance in terminal.json("ls", "-i")["instances"]:
                terminal("rm", "-f", instance["instance_id"])
        finally:
            engine.stop()
