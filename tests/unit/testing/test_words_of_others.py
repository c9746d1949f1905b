"""What other tools are told, in pgstrata's words."""

import pytest

from pgstrata.errors import InvalidArgumentError
from pgstrata.testing.containers import image_of
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
