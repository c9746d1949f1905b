"""Liquibase to test with: its jars, its plain command line, and databases compared."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
import pytest

from pgstrata.errors import ProgramError
from pgstrata.kinds.liquibase import installation
from pgstrata.settings import LiquibaseSettings
from tests import needs

JHIPSTER = Path(__file__).parents[2] / "shared" / "data" / "liquibase" / "jhipster"
_INSTALLED = Path(sys.prefix) / "liquibase"

HISTORY = """
select id, author, filename, orderexecuted, exectype, md5sum, description, comments, tag,
       liquibase, contexts, labels
from databasechangelog order by orderexecuted
"""
"""The history but for times and deployment ids."""


def liquibase_home() -> Path:
    """The directory with the jars; the test is skipped without, but in CI that is a failure."""
    home = Path(os.environ.get("PGSTRATA_LIQUIBASE_HOME", _INSTALLED))
    try:
        installation.check_py4j()
        installation.find(home=home, extensions=(), java=None, env=os.environ)
    except ProgramError as error:
        needs.missing(f"{error.message}; `make test` fetches it")
    return home


def settings(**more: Any) -> LiquibaseSettings:
    """Settings with these jars."""
    return LiquibaseSettings(home=liquibase_home(), **more)


def jhipster() -> Path:
    """The real changelog's search path; the test is skipped without it."""
    if not JHIPSTER.is_dir():
        pytest.skip(f"there is no {JHIPSTER}")
    return JHIPSTER / "src" / "main" / "resources"


def launcher(directory: Path, log: Path | None = None) -> Path:
    """A plain ``liquibase`` with those jars; each call adds its command line to ``log``."""
    home = liquibase_home()
    program = directory / "liquibase"
    noted = f'echo "$@" >> {shlex.quote(str(log))}\n' if log else ""
    program.write_text(
        f"#!/bin/sh\n{noted}export LIQUIBASE_HOME={shlex.quote(str(home))}\n"
        f"exec {shlex.quote(str(shutil.which('java')))} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "
        f'-cp "$LIQUIBASE_HOME/*" liquibase.integration.commandline.LiquibaseCommandLine "$@"\n'
    )
    program.chmod(0o755)
    return program


def plain_command(program: Path, dsn: str, *words: str) -> list[str]:
    """A call of ``liquibase`` as anybody would make it."""
    server = urlsplit(dsn)
    return [
        str(program),
        *(word for word in words if word.startswith("--search-path")),
        *(word for word in words if not word.startswith(("--search-path", "-D"))),
        f"--url=jdbc:postgresql://{server.hostname}:{server.port}{server.path}",
        f"--username={unquote(server.username or '')}",
        f"--password={unquote(server.password or '')}",
        *(word for word in words if word.startswith("-D")),
    ]


def plain_update(program: Path, dsn: str, work_dir: Path, *words: str) -> str:
    """Run ``liquibase`` as anybody would; what it said."""
    ended = subprocess.run(
        plain_command(program, dsn, *words),
        cwd=work_dir,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def history(dsn: str) -> list[tuple[Any, ...]]:
    """What Liquibase says was run, but for times and deployment ids."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(HISTORY).fetchall()


def locked(dsn: str) -> bool:
    """Whether Liquibase's lock is held."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select locked from databasechangeloglock").fetchall()
    return rows != [(False,)]


def dump(bin_dir: Path, dsn: str) -> str:
    """All of a database but Liquibase's history and what is made up anew by each dump."""
    ended = subprocess.run(
        [
            bin_dir / "pg_dump",
            "--inserts",
            "--exclude-table=public.databasechangelog*",
            f"--dbname={dsn}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(
        line
        for line in ended.stdout.splitlines()
        if not line.startswith(("\\restrict", "\\unrestrict", "--"))
    )
