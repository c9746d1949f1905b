"""`python -m bench.page bench.json`: writes the figures of a run into ``docs/performance.md``."""

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.report import Row, Run, Section, from_json, lines

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- the last run -->", "<!-- end of the last run -->"


def main() -> None:
    run = from_json(Path(sys.argv[1]).read_bytes())
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text("\n".join([before + BEGIN, *_text(run), END + after]), encoding="utf-8")


def _text(run: Run) -> Iterator[str]:
    yield ""
    yield from (f"- {name}: {text}" for name, text in run.machine.items())
    yield f"- {run.seconds / 60:.0f} minutes, {run.over} limits missed"
    for section in run.sections:
        yield ""
        yield from _table(section)
    yield ""


def _table(section: Section) -> Iterator[str]:
    yield f"### {section.name}: {section.place}"
    yield ""
    yield "| | value | half of them | base | ratio | limit | |"
    yield "|---|---|---|---|---|---|---|"
    for row in section.rows:
        yield _line(row)


def _line(row: Row) -> str:
    [cells, *_] = lines([row])
    what, *others = (cell.strip() for cell in cells)
    if row.against is not None:
        what += f", against {row.against}"
    return f"| {' | '.join([what, *others])} |".replace("|  |", "| |").replace("|  |", "| |")


if __name__ == "__main__":
    main()
