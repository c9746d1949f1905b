"""Living through one history after the other, in a process of its own."""

import time
from typing import NamedTuple

from tests.simulation.histories import live


class Lived(NamedTuple):
    """What one process has lived through."""

    histories: int
    looks: int
    findings: int


def live_on(first: int, step: int, seconds: float) -> Lived:
    """Live through every history of so many, from the first on, and tell of findings."""
    began = time.monotonic()
    seed = first
    looks = findings = 0
    while time.monotonic() - began < seconds:
        outcome = live(seed)
        looks += outcome.looks
        if outcome.finding is not None:
            findings += 1
            print(f"seed {seed}: {outcome.finding.error}", flush=True)
        seed += step
    return Lived((seed - first) // step, looks, findings)
