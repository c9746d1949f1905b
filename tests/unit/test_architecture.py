"""docs/architecture.md names every package, and only code that is there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pgstrata"
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()


def names_in(module: Path) -> set[str]:
    """The classes, functions and variables that a module defines, in classes too."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                found.add(node.name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return found


def test_every_package_is_named() -> None:
    table = DOCUMENT.partition("## Packages")[2].partition("## Words")[0]
    first_cells = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    packages |= {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__")}
    assert set(re.findall(r"`(\w+)`", first_cells)) == packages


def test_all_code_that_is_pointed_to_is_there() -> None:
    pointers = re.findall(r"`([\w/]+\.py)::(\w+)`", DOCUMENT)
    assert pointers
    assert [
        f"{file}::{name}" for file, name in pointers if name not in names_in(SOURCE / file)
    ] == []
