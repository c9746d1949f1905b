"""What other tools are told, in pgstrata's words."""

from pathlib import Path

import pytest

from pgstrata.errors import InvalidArgumentError
from pgstrata.testing.containers import PostgresContainer, image_of, scripts_in
from pgstrata.testing.login import server_settings


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("postgres", None),
        ("postgres:latest", None),
        ("postgres:alpine", None),
        ("postgres:16", "postgres:16"),
        ("postgres:16.4-bookworm", "postgres:16.4"),
        ("docker.io/library/postgres:16-alpine", "postgres:16"),
        ("postgis/postgis:16-3.4", "postgis/postgis:16-3.4"),  # which the engine refuses
    ],
)
def test_of_an_image_its_version_counts(name: str, image: str | None) -> None:
    assert image_of(name) == image


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("-c fsync=off -c search_path=a", {"fsync": "off", "search_path": "a"}),
        ("--work_mem=1MB", {"work_mem": "1MB"}),
    ],
)
def test_options_of_postgres_are_settings(options: str, settings: dict[str, str]) -> None:
    assert server_settings(options) == settings


@pytest.mark.parametrize("options", ["-N 50", "-c", "-c fsync", "--single", "fsync=off"])
def test_other_options_are_refused(options: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is no setting"):
        server_settings(options)


def test_of_a_directory_only_scripts_are_run(tmp_path: Path) -> None:
    for name in ("2.sql", "1.sql", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "more.sql").mkdir()
    assert scripts_in(tmp_path) == [tmp_path / "1.sql", tmp_path / "2.sql"]


@pytest.mark.parametrize("name", ["fill.sh", "dump.sql.gz"])
def test_what_psql_cannot_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidArgumentError, match=f"{name} is no script for psql"):
        PostgresContainer().with_volume_mapping(tmp_path, "/docker-entrypoint-initdb.d")
    with pytest.raises(InvalidArgumentError, match=f"{name} is no script for psql"):
        PostgresContainer().with_volume_mapping(
            tmp_path / name, f"/docker-entrypoint-initdb.d/{name}"
        )
