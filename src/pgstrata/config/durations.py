"""Lengths of time as people write them: ``90``, ``90s``, ``15m``, ``2h``, ``1d``."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(text: str) -> int:
    """Whole seconds. Raises ``ValueError``, with a message for people, for anything else."""
    stripped = text.strip()
    unit = stripped[-1:]
    number = stripped[:-1] if unit in _SECONDS else stripped
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f'"{text}" is not a length of time such as 90s, 15m, 2h or 1d')
    return int(number) * _SECONDS.get(unit, 1)


def parse_positive(text: str) -> int:
    """Whole seconds, at least one. Raises ``ValueError`` as ``parse`` does."""
    seconds = parse(text)
    if seconds == 0:
        raise ValueError(f'"{text}" is no time at all; give at least 1s')
    return seconds
