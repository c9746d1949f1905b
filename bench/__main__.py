"""`python -m bench`: speed as ratios, each measured side by side in one run.

The limit is PostgreSQL itself: a bare server starting on the same clone. Rounds of the things that
are compared alternate, so that a machine that slows down slows all of them down; medians are
compared. The store lies on a loop-mounted btrfs image where there can be one, or in ``--store``;
clones are measured on images of their own, for which 12 GB must be free in the temporary directory.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import cached, cloning, liquibase, long, metadata, processes, scanning, suites, warm
from bench.engine import Engine, running_engine
from bench.report import Row, show
from pgstrata.system import environment
from tests.filesystems import loop_mounted

GIB = 1 << 30


Part = Callable[[Engine, Path, int], list[Row]]

PARTS: Mapping[str, Part] = {
    "cached": cached.measure,
    "warm": warm.measure,
    "commands": lambda engine, _, rounds: processes.measure(engine, rounds),
    "scanning": lambda _engine, _place, _rounds: scanning.measure(),
    "metadata": lambda _engine, _place, _rounds: metadata.measure(),
    "liquibase": lambda engine, _place, _rounds: liquibase.measure(engine),
    "long": lambda engine, _place, _rounds: long.measure(engine),
    "pytest": lambda engine, place, _rounds: suites.measure(engine, place),
    "cloning": lambda _engine, _place, _rounds: cloning.measure(),
}
"""Each is measured with an engine, a directory, and a number of rounds."""


def main() -> None:
    environment.forget_others()
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of each comparison")
    parser.add_argument("--store", type=Path, help="a directory to measure in, as it is")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    options = parser.parse_args()
    parts = list(PARTS.values()) if options.only is None else [PARTS[options.only]]
    with _place(options.store) as place, running_engine(place / "store") as engine:
        print(
            f"snapshots by {engine.backend}; PostgreSQL {engine.version}; rounds: {options.rounds}"
        )
        rows = [row for part in parts for row in part(engine, place, options.rounds)]
    show(rows)


@contextlib.contextmanager
def _place(wanted: Path | None) -> Iterator[Path]:
    with contextlib.ExitStack() as stack:
        if wanted is not None:
            yield wanted
            return
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="pgstrata-bench-")))
        directory.chmod(0o711)
        try:
            place = stack.enter_context(loop_mounted("btrfs", 4 * GIB, directory))
        except (OSError, RuntimeError) as error:
            print(f"no btrfs here ({error}); measuring in {directory}", file=sys.stderr)
            place = directory
        yield place


if __name__ == "__main__":
    main()
