"""`python -m bench`: speed as ratios, each measured side by side in one run.

The limit is PostgreSQL itself: a bare server starting on the same clone. Rounds of the things that
are compared alternate, so that a machine that slows down slows all of them down; medians are
compared. As root everything happens on images of btrfs and ext4, made for the run, for which 12 GB
must be free in the temporary directory; others measure in the temporary directory, or in --store.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench import (
    cached,
    cloning,
    crowd,
    large,
    liquibase,
    long,
    machine,
    memory,
    metadata,
    processes,
    scanning,
    steps,
    suites,
    warm,
)
from bench.engine import Engine, running_engine
from bench.report import Row, Run, Section, as_json, show
from pgstrata.system import environment
from tests.filesystems import CannotMountError, FileSystem, loop_mounted

GIB = 1 << 30
_IMAGE_BYTES = 16 * GIB
_ANY: Sequence[FileSystem] = ("btrfs",)
_BOTH: Sequence[FileSystem] = ("btrfs", "ext4")


class Part(NamedTuple):
    """Something that is measured with an engine, in a directory, in a number of rounds."""

    measure: Callable[[Engine, Path, int], list[Row]]
    file_systems: Sequence[FileSystem] = _ANY
    by_name_only: bool = False
    """Whether it takes too long for a run of everything."""


PARTS: Mapping[str, Part] = {
    "cached": Part(cached.measure, _BOTH),
    "warm": Part(warm.measure),
    "crowd": Part(crowd.measure),
    "large": Part(large.measure),
    "huge": Part(large.measure_huge, by_name_only=True),
    "memory": Part(lambda engine, _place, _rounds: memory.measure(engine)),
    "commands": Part(lambda engine, _place, rounds: processes.measure(engine, rounds)),
    "steps": Part(lambda engine, place, _rounds: steps.measure(engine, place), _BOTH),
    "liquibase": Part(lambda engine, _place, _rounds: liquibase.measure(engine), _BOTH),
    "long": Part(lambda engine, _place, _rounds: long.measure(engine), _BOTH),
    "pytest": Part(lambda engine, place, _rounds: suites.measure(engine, place)),
}

ALONE: Mapping[str, Callable[[], list[Row]]] = {
    "scanning": scanning.measure,
    "metadata": metadata.measure,
    "cloning": cloning.measure,
}
"""What is measured without an engine."""


def main() -> None:
    environment.forget_others()
    # So that nothing stays mounted or running.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [*PARTS, *ALONE]
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each comparison")
    parser.add_argument("--store", type=Path, help="a directory to measure in, as it is")
    parser.add_argument(
        "--only",
        choices=names,
        action="append",
        metavar="PART",
        help=f"measure this part; may be repeated: {', '.join(names)}",
    )
    parser.add_argument("--on", choices=_BOTH, help="measure on this file system alone")
    parser.add_argument(
        "--json", type=Path, default=Path("bench.json"), help="where to write all figures as JSON"
    )
    options = parser.parse_args()
    wanted = options.only or [
        name for name in names if name not in PARTS or not PARTS[name].by_name_only
    ]
    facts, began = machine.facts(), time.monotonic()
    sections = [
        *_with_engines(wanted, options.store, options.on, options.rounds),
        *(_section(name, "no engine", ALONE[name]) for name in wanted if name in ALONE),
    ]
    run = Run(machine=facts, seconds=time.monotonic() - began, sections=sections)
    show(run)
    options.json.write_bytes(as_json(run))
    print(f"the same as JSON: {options.json}")


def _with_engines(
    wanted: Sequence[str], store: Path | None, only_on: FileSystem | None, rounds: int
) -> Iterator[Section]:
    parts = {name: PARTS[name] for name in wanted if name in PARTS}
    for file_system in _BOTH if store is None else _ANY:
        there = [name for name, part in parts.items() if file_system in part.file_systems]
        if not there or only_on not in (None, file_system):
            continue
        with _place(store, file_system) as (kind, directory):
            if kind is None and file_system not in _ANY:
                continue  # it would be the same once more
            for name in there:
                # What one has left in an engine is no part of the next.
                place = directory / name
                place.mkdir(mode=0o711)
                with running_engine(place / "store") as engine:
                    about = f"{engine.backend} on {kind or directory}, {engine.version}"
                    measure = partial(parts[name].measure, engine, place, rounds)
                    yield _section(name, about, measure)


def _section(name: str, place: str, measure: Callable[[], list[Row]]) -> Section:
    print(f"measuring {name}: {place}", file=sys.stderr)
    began = time.monotonic()
    rows = measure()
    return Section(name=name, place=place, seconds=time.monotonic() - began, rows=rows)


@contextlib.contextmanager
def _place(
    wanted: Path | None, file_system: FileSystem
) -> Iterator[tuple[FileSystem | None, Path]]:
    """A directory to measure in, and its file system, if that is the one that was wanted."""
    with contextlib.ExitStack() as stack:
        if wanted is not None:
            yield None, wanted
            return
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="pgstrata-bench-")))
        directory.chmod(0o711)
        try:
            mount = stack.enter_context(loop_mounted(file_system, _IMAGE_BYTES, directory))
        except CannotMountError as error:
            print(f"no {file_system} here ({error}); measuring in {directory}", file=sys.stderr)
            yield None, directory
            return
        mount.chmod(0o711)
        yield file_system, mount


if __name__ == "__main__":
    main()
