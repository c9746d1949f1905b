"""Lives through histories for some time, and tells of those in which something was wrong.

python -m tests.simulation --seconds 60    # each with another seed
python -m tests.simulation --seed 4711     # that of one seed, told call by call
"""

import argparse
import os
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from random import SystemRandom

from tests.simulation.histories import live
from tests.simulation.many import Lived, live_on


def main() -> int:
    """Return 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--first", type=int, help="the first seed; the others follow")
    parser.add_argument("--seed", type=int, help="live through this one only, and tell of it")
    asked = parser.parse_args()
    if asked.seed is not None:
        finding = live(asked.seed, told=True).finding
        if finding is not None:
            traceback.print_exception(finding.error)
        return finding is not None
    first = SystemRandom().randrange(1 << 30) if asked.first is None else asked.first
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as processes:
        works = [
            processes.submit(live_on, first + core, cores, asked.seconds) for core in range(cores)
        ]
        lived = Lived(*map(sum, zip(*(work.result() for work in works), strict=True)))
    print(
        f"{lived.histories} histories from seed {first} on, "
        f"{60 * lived.histories / asked.seconds:.0f} a minute, "
        f"looked at {lived.looks} times: {lived.findings} findings"
    )
    return lived.findings > 0


if __name__ == "__main__":
    sys.exit(main())
