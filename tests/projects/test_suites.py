"""Suites of others, as their source packages have them: as many tests pass as on a plain server.

Nothing of theirs is changed. They are told where the database is in the way that they ask for:
SQLAlchemy-Continuum in a variable, aiosql by fixtures of pytest-postgresql's, Django in settings.
"""

import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.acceptance.conftest import Shared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")

_ENDS = ("passed", "failed", "failures", "error", "errors", "skipped")

OWN_DATABASE = """
import pytest

@pytest.fixture(autouse=True)
def database(pg, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", pg.url("psycopg2"))
"""

OWN_SERVER = """
from pgstrata.pytest.compat import factories

postgresql_proc = factories.postgresql_proc(user="tester")
postgresql = factories.postgresql("postgresql_proc")
"""

PLAIN_SERVER = """
from pytest_postgresql import factories

postgresql_proc = factories.postgresql_noproc(**PLACE)
postgresql = factories.postgresql("postgresql_proc")
"""

SETTINGS = """
import os

PLACE = eval(os.environ["PLACE"])
DATABASES = {alias: {"NAME": alias, **PLACE} for alias in ("default", "other")}
SECRET_KEY = "none"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
"""


@pytest.fixture
def packages(shared: Shared) -> Path:
    """Where packages are put that only a suite needs."""
    place = shared.home / "packages"
    shared.environment["PYTHONPATH"] = str(place)
    shared.renew()
    return place


def install(place: Path, *names: str) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(place))
    subprocess.run([*pip, *names], check=True)


def unpack(shared: Shared, name: str) -> Path:
    """The directory that a source package has."""
    package = name.partition("=")[0]
    into = shared.home / "sources" / package
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", package)
    subprocess.run([*pip, "--dest", str(into), name], check=True)
    [archive] = into.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(into, filter="data")
    [directory] = (each for each in into.iterdir() if each.is_dir())
    return directory


def passed(
    shared: Shared, directory: Path, *command: str, **environment: str
) -> tuple[int, Mapping[str, int]]:
    """How many tests passed; and what other ends there were, each with its number."""
    ended = subprocess.run(
        command,
        cwd=directory,
        env={**shared.environment, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=3600,
        check=False,
    )
    told = ended.stdout.rstrip().splitlines()
    [last] = [line for line in told if re.search(r"\d+ passed|^OK|^FAILED \(", line)][-1:]
    counts = {how: int(number) for number, how in re.findall(r"(\d+) (\w+)", last)}
    counts |= {how: int(number) for how, number in re.findall(r"(\w[\w ]*)=(\d+)", last)}
    if (found := re.search(r"^Ran (\d+) tests", ended.stdout, re.MULTILINE)) is not None:
        counts["passed"] = int(found[1]) - sum(counts.values())
    counts = {how: number for how, number in counts.items() if how in _ENDS}
    assert "passed" in counts, ended.stdout[-5000:]
    print(directory.name, *command[-2:], counts)
    if counts.keys() - {"passed", "skipped"}:
        print(ended.stdout[-5000:])
    return counts["passed"], counts


def plain_server(shared: Shared, *databases: str) -> str:
    """The DSN of a server that is nothing to do with the plugin."""
    steps = [word for name in databases for word in ("-c", f'create database "{name}"')]
    return shared.prepare("-c", "select 1", *steps)


def place_of(dsn: str) -> dict[str, str]:
    """Where a server is, in the words that Python programs have for it."""
    known = conninfo_to_dict(dsn)
    return {key: str(known[key]) for key in ("host", "port", "user", "password")}


def test_sqlalchemy_continuum(shared: Shared, packages: Path) -> None:
    suite = unpack(shared, "sqlalchemy-continuum")
    install(
        packages,
        str(suite),
        *("sqlalchemy-utils", "psycopg2-binary", "flask-login", "flask-sqlalchemy", "sqlmodel"),
    )
    url = plain_server(shared).replace("postgresql:", "postgresql+psycopg2:")
    plain = passed(
        shared, suite, *PYTEST, "-p", "no:pgstrata", "tests", DB="postgres", DATABASE_URL=url
    )
    (suite / "conftest.py").write_text(OWN_DATABASE)
    recipe = ("-o", "pgstrata_recipe=psql -c 'select 1'")
    assert passed(shared, suite, *PYTEST, *recipe, "tests", DB="postgres") == plain
    assert plain[0] >= 100


def test_aiosql(shared: Shared, packages: Path) -> None:
    suite = unpack(shared, "aiosql")
    install(
        packages,
        str(suite),
        *("pytest-postgresql", "pytest-asyncio", "asyncpg", "pg8000", "psycopg2-binary"),
    )
    place = place_of(plain_server(shared))
    words = (f"--confcutdir={suite}", "-m", "postgres", "tests")
    # It asks for the password where psycopg does not tell.
    given = f"--postgresql-password={place['password']}"
    (suite / "conftest.py").write_text(PLAIN_SERVER.replace("PLACE", repr(place)))
    plain = passed(shared, suite, *PYTEST, "-p", "no:pgstrata", given, *words)
    (suite / "conftest.py").write_text(OWN_SERVER)
    assert passed(shared, suite, *PYTEST, "--postgresql-password=one", *words) == plain
    assert plain[0] >= 80


def test_djangos_own(shared: Shared) -> None:
    suite = unpack(shared, f"django=={version('django')}")
    (suite / "settings_of_ours.py").write_text(SETTINGS)
    shared.environment["PYTHONPATH"] = str(suite)
    shared.renew()
    words = ("runtests.py", "--settings=settings_of_ours", "--parallel=1")
    applications = ("transactions", "transaction_hooks", "postgres_tests")
    command = (sys.executable, *words, *applications)
    known = place_of(plain_server(shared, "default", "other"))
    place = {key.upper(): value for key, value in known.items()}
    place["ENGINE"] = "django.db.backends.postgresql"
    plain = passed(shared, suite / "tests", *command, PLACE=repr(place))
    ours = passed(shared, suite / "tests", *command, PLACE="{'ENGINE': 'pgstrata.django'}")
    assert ours == plain
    assert plain[0] >= 100
