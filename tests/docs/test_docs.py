"""Every block of a shell in the docs does what the page says."""

import ast
import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests import needs
from tests.acceptance.conftest import PGSTRATA, Shared
from tests.clusters import fetched
from tests.docs import pages, session
from tests.liquibase import liquibase_home

LIQUIBASE_HOME = os.environ.get("PGSTRATA_LIQUIBASE_HOME", f"{sys.prefix}/liquibase")

MODULES = {"exec.md": ("alembic", "django")}
PROGRAMS = {
    "aliases.md": ("git", "make"),
    "ci.md": ("make",),
    "http.md": ("curl",),
    "psql.md": ("git", "iconv"),
    "run.md": ("git", "make"),
    "tests.md": ("make",),
}
"""What pages need that is not on every machine."""

LANGUAGES = {"sh", "text", "sql", "yaml", "json", "python", "toml", "xml", "java", "ini", "make"}

SLOW = {
    "exec.md": "Alembic and Django take seconds to start",
    "liquibase.md": "so does a Java",
    "psql.md": "it shows what most other tests of recipes do",
}

WITH_SHELL = [
    pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW else [], id=page.name)
    for page in pages.PAGES
    if any(block.is_shell and block.mark != "skip" for block in pages.blocks(page))
]


@pytest.mark.parametrize("page", WITH_SHELL)
def test_a_page_read_as_one_session_of_a_shell_does_what_it_says(
    page: Path, shared: Shared, tmp_path: Path
) -> None:
    _look_for_what_it_needs(page.name)
    programs = (PGSTRATA.parent, fetched("18").bin_dir)
    # As it is by itself.
    del shared.environment["PGSTRATA_POOL_MAX"]
    shared.environment["PATH"] = ":".join((*map(str, programs), shared.environment["PATH"]))
    shared.environment["PGSTRATA_LIQUIBASE_HOME"] = LIQUIBASE_HOME
    shared.renew()
    session.run(page, shared.work, tmp_path, shared.environment)


def _look_for_what_it_needs(page: str) -> None:
    if page == "liquibase.md":
        liquibase_home()
    for module in MODULES.get(page, ()):
        if find_spec(module) is None:
            needs.missing(f"there is no {module}: run `make test`")
    for program in PROGRAMS.get(page, ()):
        if shutil.which(program) is None:
            needs.missing(f"there is no {program}")


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert [f"{page.name}:{line}" for line in pages.indented(page)] == []
    for block in pages.blocks(page):
        assert block.language in LANGUAGES, block.place
        assert block.mark in (None, "file", "skip", "fails"), block.place
        assert block.mark is None or block.value, block.place


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_what_is_not_run_can_at_least_be_read(page: Path) -> None:
    for block in pages.blocks(page):
        match block.language:
            case "json":
                for line in block.text.splitlines() if "\n{" in block.text else [block.text]:
                    json.loads(line)
            case "yaml":
                yaml.safe_load(block.text)
            case "python" if "…" not in block.text:
                ast.parse(block.text)
