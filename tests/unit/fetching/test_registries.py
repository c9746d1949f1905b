"""Which registry and which index a machine is set to use, and where a file is in them."""

import json
from pathlib import Path

import pytest

from pgstrata.errors import ProgramError
from pgstrata.fetching import npm, pypi
from tests.registries import serving

JSON = "application/vnd.pypi.simple.v1+json"
WHEEL = "a_b-1.0-py3-none-any.whl"


def test_the_registry_is_the_one_that_npm_is_set_to(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("audit=false\nregistry=https://mirror.example/npm\n")
    env = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
    assert npm.registry(env) == "https://mirror.example/npm/"
    env["npm_config_registry"] = "https://other.example"
    assert npm.registry(env) == "https://other.example/"


def test_a_scope_is_part_of_an_archives_place_and_not_of_its_name() -> None:
    assert npm.archive("@scope/thing", "1.2.3-beta.4") == "@scope/thing/-/thing-1.2.3-beta.4.tgz"
    assert npm.archive("thing", "1.2") == "thing/-/thing-1.2.tgz"


def test_the_index_is_the_one_that_pip_is_set_to(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://global.example/simple\n")
    assert pypi.index(env) == "https://global.example/simple"
    config.write_text(config.read_text() + "[install]\nindex-url = https://own.example/%40/\n")
    assert pypi.index(env) == "https://own.example/%40/"
    env["PIP_INDEX_URL"] = "https://named.example"
    assert pypi.index(env) == "https://named.example"


def test_a_configuration_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("index-url = in no section\n")
    with pytest.raises(ProgramError, match=str(config)):
        pypi.index({"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(config)})


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_file_is_found_on_a_page_of_json(slash: str) -> None:
    with serving() as registry:
        page = {"files": [{"filename": WHEEL, "url": "../../files/x.whl#sha256=00"}]}
        registry.files["/simple/a-b/"] = json.dumps(page).encode()
        registry.kinds["/simple/a-b/"] = JSON
        found = pypi.url_of(f"{registry.url}/simple{slash}", "a-b", WHEEL)
        assert found == f"{registry.url}/files/x.whl"


def test_a_file_is_found_on_a_page_of_html_with_the_pages_login() -> None:
    with serving() as registry:
        other = "https://files.example"
        registry.files["/simple/a-b/"] = (
            f'<html><a href="{other}/{WHEEL}.metadata">no</a>'
            f'<a href="/files/{WHEEL}#sha256=00" data-x="1">yes</a></html>'
        ).encode()
        registry.kinds["/simple/a-b/"] = "text/html; charset=utf-8"
        index = registry.url.replace("//", "//me:secret@") + "/simple"
        assert pypi.url_of(index, "a-b", WHEEL) == (
            registry.url.replace("//", "//me:secret@") + f"/files/{WHEEL}"
        )


def test_a_file_that_is_not_listed_is_told_without_the_login() -> None:
    with serving() as registry:
        registry.files["/simple/a-b/"] = b"<a href='other.whl'>other</a>"
        index = registry.url.replace("//", "//me:secret@") + "/simple"
        with pytest.raises(ProgramError, match="it is not listed there") as refused:
            pypi.url_of(index, "a-b", WHEEL)
        assert "secret" not in str(refused.value)
        with pytest.raises(ProgramError, match="404"):
            pypi.url_of(f"{registry.url}/other", "a-b", WHEEL)
