"""Sizes as people write them: ``5000000``, ``500MB``, ``10GB``, ``1.5TB``, ``512MiB``."""

import re

_UNITS = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", 1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", 1)},
}
_WRITTEN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.ASCII)


def parse(text: str) -> int:
    """Whole bytes. Raises ``ValueError``, with a message for people, for anything else."""
    found = _WRITTEN.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f'"{text}" is not a size such as 500MB, 10GB or 512MiB')
    return (
        int(float(found[1]) * _UNITS[found[2]])
        if "." in found[1]
        else (int(found[1]) * _UNITS[found[2]])
    )
