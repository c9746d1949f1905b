"""The tables of settings in ``docs/configuration.md``: ``make docs`` puts them there.

Run as a program it brings a file up to date: ``python -m pgstrata.config.documentation FILE``.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pgstrata.config.keys import OWN, Key, engine_keys

START = "<!-- Made by `make docs` of the settings in src/pgstrata. -->"
END = "<!-- The end of what is made. -->"
_MADE = re.compile(f"{re.escape(START)}\n.*{re.escape(END)}", re.DOTALL)

_HEAD = ("| key | takes | default | option | what it says |", "|---|---|---|---|---|")


def updated(text: str) -> str:
    """The document with the tables as they should be now."""
    return _MADE.sub(lambda _: "\n".join((START, *_tables(), END)), text)


def _tables() -> Iterator[str]:
    for heading, keys in (("A command's own:", OWN), ("The engine's:", engine_keys())):
        yield from ("", heading, "", *_HEAD, *map(_row, keys.values()))
    yield ""


def _row(key: Key) -> str:
    name = f"{key.name}.NAME" if key.is_map else key.name
    option = f"`{key.setting.option}`" if key.setting.option else ""
    cells = (f"`{name}`", key.values.kind, _default(key), option, key.setting.about)
    return f"| {' | '.join(cells)} |"


def _default(key: Key) -> str:
    if key.setting.default is not None:
        return key.setting.default
    return f"`{key.values.plain(key.default)}`" if key.default not in (None, ()) else "none"


if __name__ == "__main__":
    for file in map(Path, sys.argv[1:]):
        file.write_text(updated(file.read_text()))
