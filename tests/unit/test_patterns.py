"""No pattern has possessive quantifiers or atomic groups, which Python before 3.11.5 gets wrong."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "pgstrata"

_QUANTIFIED = re.compile(r"[*+?}]\+|\(\?>")


def literals_in(file: Path) -> Iterator[str]:
    """What may be a pattern: each string that is given to a function of ``re``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
            for one in ast.walk(node):
                if isinstance(one, ast.Constant) and isinstance(one.value, str | bytes):
                    text = one.value
                    yield text if isinstance(text, str) else text.decode("latin-1")


def is_possessive(pattern: str) -> bool:
    # What is escaped, or in a class, is no quantifier.
    bare = re.sub(r"\[\^?\]?(?:\\.|[^\]\\])*\]", "x", re.sub(r"\\.", "x", pattern))
    return _QUANTIFIED.search(bare) is not None


@pytest.mark.parametrize("quantifier", ["*+", "++", "?+", "{2,3}+"])
@pytest.mark.parametrize("unit", ["a", "[ab]", "(?:a|b)"])
def test_they_are_found(unit: str, quantifier: str) -> None:
    assert is_possessive(unit + quantifier)
    assert not is_possessive(unit + quantifier.removesuffix("+"))
    assert not is_possessive(unit + r"\+[*+]+")


def test_there_are_none() -> None:
    patterns = [(file, each) for file in SOURCE.rglob("*.py") for each in literals_in(file)]
    assert len(patterns) > 100
    assert [f"{file}: {each}" for file, each in patterns if is_possessive(each)] == []
