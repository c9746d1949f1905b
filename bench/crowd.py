"""Many clients at once: how many databases are made and removed, none of them ready beforehand."""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.bare import BareServer
from bench.client import Client
from bench.engine import Engine, answer
from bench.report import Row

CLIENTS = 8
_SECONDS = 20.0
_TURNS = 3


def measure(engine: Engine, place: Path, _rounds: int) -> list[Row]:
    """Prepare and remove, in turns with bare servers on clones that are removed, too."""
    client = Client(engine)
    client.limit(0)
    first, _ = client.prepare()
    state = engine.store / "states" / first["state_id"]
    bare = [BareServer(engine, state, place / f"bare-{number}") for number in range(CLIENTS)]
    clients = [Client(engine) for _ in range(CLIENTS)]
    ours = base = 0
    for _ in range(_TURNS):
        ours += at_once([partial(_prepare, each) for each in clients], _SECONDS)
        base += at_once([each.time_start for each in bare], _SECONDS)
    seconds = _SECONDS * _TURNS
    return [
        Row(
            what=f"{CLIENTS} clients, prepare and remove, nothing warm",
            value=ours / seconds,
            unit="/s",
            against=f"{CLIENTS} loops: clone, bare server start, stop, remove",
            base=base / seconds,
            limit=1.3,
            least=True,
        )
    ]


def _prepare(client: Client) -> None:
    result, _ = client.prepare()
    answer(result["dsn"])
    client.remove(result["instance_id"])


def at_once(works: list[Callable[[], object]], seconds: float) -> int:
    """Do each of them again and again for so long. Returns how often that was in all."""
    until = time.monotonic() + seconds
    done: list[int] = []

    def again(work: Callable[[], object]) -> None:
        while time.monotonic() < until:
            work()
            done.append(1)

    threads = [threading.Thread(target=again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done)
