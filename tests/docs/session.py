"""A page as one session of a shell: its files are written and its blocks run, in order."""

import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from pgstrata.cli.for_eval import LINE
from tests.docs.pages import Block, agrees, blocks

GIVEN = Path(__file__).with_name("given")
"""What is in the directory in which a page is read, below the page's name: what it takes for given.
``before.sh`` is run at first."""

_TIMEOUT = 500  # seconds; only something that hangs takes so long


def run(page: Path, work: Path, aside: Path, env: Mapping[str, str]) -> None:
    """Run a page in the directory ``work``; fail with the block that did something else.

    ``aside``: a directory that the page does not see.
    """
    if (given := GIVEN / page.stem.lower()).is_dir():
        shutil.copytree(given, work, dirs_exist_ok=True)
    every = list(blocks(page))
    script = aside / "session.sh"
    script.write_text("".join(_session(every, aside)))
    ended = subprocess.run(
        ["bash", script],
        stdin=subprocess.DEVNULL,
        cwd=work,
        env=env,
        timeout=_TIMEOUT,
        check=False,
    )
    to_run = [block for block in every if block.is_shell and block.mark != "skip"]
    reached = [block for block in to_run if _output(block, aside).exists()]
    if ended.returncode != 0 or reached != to_run:
        raise AssertionError(_tell(reached[-1], aside, f"ended with {ended.returncode}"))
    for block, after in pairwise(every):
        if block in reached and after.language == "text" and after.mark is None:
            # A reader at a terminal does not get that line.
            printed = _output(block, aside).read_text().replace(f"{LINE}\n", "")
            assert agrees(after.text, printed), _tell(block, aside, "printed something else")


def _session(every: list[Block], aside: Path) -> Iterator[str]:
    yield "set -e\nif test -e before.sh; then . ./before.sh; fi\n"
    for number, block in enumerate(every):
        text = aside / f"block-{number}"
        text.write_text(block.text)
        source = shlex.quote(str(text))
        if block.mark == "file":
            name = shlex.quote(block.value)
            yield f'mkdir -p "$(dirname {name})"; cp {source} {name}\n'
            if block.language in ("sh", "python"):
                yield f"chmod +x {name}\n"
        elif block.is_shell and block.mark != "skip":
            yield f"exec > {shlex.quote(str(_output(block, aside)))} 2>&1\n"
            yield (
                f". {source}\n"
                if block.mark != "fails"
                else f"set +e; (. {source}); test $? = {int(block.value)}; was=$?; set -e\n"
                'test "$was" = 0\n'
            )


def _output(block: Block, aside: Path) -> Path:
    return aside / f"printed-{block.line}"


def _tell(block: Block, aside: Path, what: str) -> str:
    return f"{block.place} {what}:\n{block.text}\n{_output(block, aside).read_text()}"
