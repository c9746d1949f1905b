"""The pages of the documentation, and the fenced blocks that stand in them.

What follows a block's language says what a test does with it:

    ```sh                       is run; it must succeed
    ```sh fails=2               is run; it must end with this code
    ```sh skip=needs a network  cannot be run, for this reason
    ```sql file=schema.sql      is written to this file, in any language; ``sh`` can be run then
    ```text                     after a shell block: what that prints; an ellipsis is anything
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"```(?P<language>\w*) *(?:(?P<mark>\w+)=(?P<value>.*))?")

_ID = re.compile(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{12,64}\b")
_MEASURED = re.compile(r"\b[0-9]+(?:\.[0-9]+)? ?(?:ms|s|kB|MB|GB|kiB|KiB|MiB|GiB)\b")
_SLOW = re.compile(
    r"^(?:\[[0-9]+/[0-9]+\] running |waiting for a slot|planning|cloning and starting the instance"
    r"|resolving the image).*\n",
    re.MULTILINE,
)
"""What a command says of something that takes ten seconds, as anything may."""
_AGO = re.compile(r"\b(?:now|[0-9]+ ?(?:s|m|h|d))\b")


class Block(NamedTuple):
    """A fenced block."""

    page: Path
    line: int
    """Of its fence, from 1."""
    language: str
    mark: str | None
    value: str
    text: str

    @property
    def is_shell(self) -> bool:
        return self.language == "sh" and self.mark != "file"

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    opened: tuple[int, re.Match[str]] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if opened is None:
            if line.lstrip().startswith("```"):
                fence = _FENCE.fullmatch(line)
                assert fence is not None, f"{page.name}:{number}: unknown kind of block: {line}"
                opened = number, fence
        elif line == "```":
            start, fence = opened
            opened, text = None, "\n".join((*lines, ""))
            lines = []
            yield Block(page, start, fence["language"], fence["mark"], fence["value"] or "", text)
        else:
            lines.append(line)
    assert opened is None, f"{page.name}: a block does not end"


def indented(page: Path) -> Iterator[int]:
    """The lines of blocks that are made by four spaces, which say nothing about themselves."""
    fenced = False
    before = ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and line.startswith("    ") and not before.strip():
            yield number
        before = line


def agrees(shown: str, printed: str) -> bool:
    """Whether a page shows what was printed.

    An ellipsis stands for anything in its line, and for any lines if it has one of its own. Ids,
    times and sizes are never the same twice, how wide columns are depends on them, and a path has
    quotes where it needs them.
    """
    pattern = "".join(
        "(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
        for line in _plain(shown)
    )
    lines = _plain(_SLOW.sub("", printed))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


def _plain(text: str) -> list[str]:
    for pattern in (_ID, _MEASURED, _AGO):
        text = pattern.sub("~", text)
    text = text.replace("'", "")
    return [" ".join(line.split()) for line in text.splitlines()]
