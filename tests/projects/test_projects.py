"""Applications as users have them, each with tests of its own that its own command runs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Shared

HERE = Path(__file__).parent
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")
DJANGO = (sys.executable, "-W", "error", "manage.py", "test")


def run(shared: Shared, project: str, *command: str) -> str:
    """What a command prints that succeeds in a project; it leaves no instances."""
    shared.renew()
    shutil.copytree(HERE / project, shared.work, dirs_exist_ok=True)
    ended = subprocess.run(
        command,
        cwd=shared.work,
        env=shared.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "Traceback" not in ended.stdout
    with shared.connected() as engine:
        assert engine.instances() == []
    return ended.stdout


def migrations(shared: Shared) -> int:
    """How many times a project has migrated a database up to now."""
    return len((shared.work / "migrated").read_text())


def test_plain_psycopg_in_the_words_of_pytest_postgresql(shared: Shared) -> None:
    assert "7 passed" in run(shared, "psycopg_shop", *PYTEST)


def test_flask(shared: Shared) -> None:
    assert "2 passed" in run(shared, "flask_shop", *PYTEST)


def test_fastapi_with_sqlalchemys_asyncio(shared: Shared) -> None:
    assert "2 passed" in run(shared, "fastapi_shop", *PYTEST)


def test_alembic(shared: Shared) -> None:
    assert "2 passed" in run(shared, "alembic_shop", *PYTEST)
    assert "state" in (printed := run(shared, "alembic_shop", *PYTEST, "-k", "make"))
    assert "miss" not in printed


def test_unittest_and_containers(shared: Shared) -> None:
    assert "Ran 7 tests" in run(shared, "unittest_shop", sys.executable, "-m", "unittest")


def test_django_migrates_once_for_all_its_processes(shared: Shared) -> None:
    assert "Ran 7 tests" in run(shared, "django_shop", *DJANGO, "--parallel", "2")
    assert migrations(shared) == 1
    with shared.connected() as engine:
        assert all(state.name is None for state in engine.states())


def test_django_keeps_what_was_migrated_until_a_migration_changes(shared: Shared) -> None:
    for _ in range(2):
        run(shared, "django_shop", *DJANGO, "--keepdb", "shop.tests.TestCommitted")
        assert migrations(shared) == 1
    project = shared.work / "shop" / "migrations" / "0001_initial.py"
    changed = project.read_text() + "\n# again\n"
    shutil.rmtree(project.parent / "__pycache__")
    project.write_text(changed)
    subprocess.run([*DJANGO, "--keepdb"], cwd=shared.work, env=shared.environment, check=True)
    assert migrations(shared) == 2


def test_django_with_pytest(shared: Shared) -> None:
    assert "11 passed" in run(shared, "django_shop", *PYTEST, "-n", "2")
    assert migrations(shared) == 1


@pytest.mark.slow
def test_pytest_alembic(shared: Shared) -> None:
    # As a plugin it would slow down every run of pytest in our own environment.
    place = shared.home / "packages"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place))
    subprocess.run([*pip, "pytest-alembic"], check=True)
    shared.environment["PYTHONPATH"] = str(place)
    assert "5 passed" in run(shared, "alembic_shop", *PYTEST)
