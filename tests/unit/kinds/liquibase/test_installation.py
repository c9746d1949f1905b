"""Finding Java and the jars, and saying what is missing."""

import asyncio
import zipfile
from pathlib import Path

import pytest

from pgstrata.errors import ToolMissingError
from pgstrata.kinds.liquibase import fetching, installation
from pgstrata.kinds.liquibase.installation import NEEDED, find


def jar(path: Path, **manifest: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in manifest.items()]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "\r\n".join(lines))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "liquibase"
    for name in NEEDED:
        jar(home / f"{name}.jar", Liquibase_Version="4.28.0", Bundle_Version="42.7.3")
    return home


@pytest.fixture
def java(tmp_path: Path) -> Path:
    program = tmp_path / "jdk" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return program


def test_jars_are_found_and_tell_their_versions(home: Path, java: Path) -> None:
    found = find(home=home, extensions=(), java=java, env={})
    assert [path.stem for path in found.jars] == list(NEEDED)
    assert (found.version, found.driver, found.extensions_digest) == ("4.28.0", "42.7.3", None)


def test_jars_are_found_in_liquibases_own_layout_and_with_versions(
    tmp_path: Path, java: Path
) -> None:
    for name in NEEDED:
        jar(tmp_path / "internal" / "lib" / f"{name}-9.1.jar", Liquibase_Version="9.1")
    jar(tmp_path / "internal" / "lib" / "commons-lang3-tests.jar")
    found = find(home=tmp_path, extensions=(), java=java, env={})
    assert {path.name for path in found.jars} == {f"{name}-9.1.jar" for name in NEEDED}


def test_the_proprietary_jar_is_left_alone(home: Path, java: Path) -> None:
    jar(home / "liquibase-commercial.jar")
    found = find(home=home, extensions=(), java=java, env={})
    assert "liquibase-commercial.jar" not in {path.name for path in found.classpath}


@pytest.mark.parametrize("name", ["a:b", "🐘"])
def test_a_jar_that_no_class_path_can_name_is_refused(
    tmp_path: Path, java: Path, name: str
) -> None:
    home = tmp_path / name
    for name in NEEDED:
        jar(home / f"{name}.jar")
    with pytest.raises(ToolMissingError, match=f"load {home}.* colon"):
        find(home=home, extensions=(), java=java, env={})


def test_no_liquibase_at_all_says_how_to_get_it(tmp_path: Path, java: Path) -> None:
    with pytest.raises(ToolMissingError, match=str(tmp_path)) as missing:
        find(home=tmp_path, extensions=(), java=java, env={})
    assert "pgstrata liquibase install" in (missing.value.remedy or "")


def test_a_jar_that_is_missing_is_named(home: Path, java: Path) -> None:
    (home / "snakeyaml.jar").unlink()
    with pytest.raises(ToolMissingError, match=r"snakeyaml\.jar"):
        find(home=home, extensions=(), java=java, env={})


def test_no_java_says_how_to_get_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_packaged_java", lambda: None)
    with pytest.raises(ToolMissingError, match="no Java") as missing:
        find(home=home, extensions=(), java=None, env={"PATH": str(tmp_path)})
    assert "default-jre-headless" in (missing.value.remedy or "")


def test_java_home_comes_before_the_path(home: Path, java: Path) -> None:
    env = {"JAVA_HOME": str(java.parent.parent), "PATH": "/usr/bin"}
    assert find(home=home, extensions=(), java=None, env=env).java == java


def test_a_java_that_is_configured_must_be_there(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="none"):
        find(home=home, extensions=(), java=tmp_path / "none", env={})


def test_extensions_count_by_their_content(home: Path, java: Path, tmp_path: Path) -> None:
    one, directory = jar(tmp_path / "one.jar", A="1"), tmp_path / "more"
    jar(directory / "two.jar", A="2")
    digests = set()
    for extensions in ((one,), (directory,), (one, directory)):
        digests.add(find(home=home, extensions=extensions, java=java, env={}).extensions_digest)
    jar(one, A="3")
    digests.add(find(home=home, extensions=(one,), java=java, env={}).extensions_digest)
    assert len(digests) == 4
    with pytest.raises(ToolMissingError, match=r"none\.jar"):
        find(home=home, extensions=(tmp_path / "none.jar",), java=java, env={})


def test_liquibases_jars_count_by_their_content(home: Path, java: Path) -> None:
    digests = set()
    for name in NEEDED:
        digests.add(find(home=home, extensions=(), java=java, env={}).jars_digest)
        jar(home / f"{name}.jar", Liquibase_Version="4.28.0", Bundle_Version="42.7.3", A=name)
    digests.add(find(home=home, extensions=(), java=java, env={}).jars_digest)
    assert len(digests) == 1 + len(NEEDED)


def test_java_counts_by_what_it_computes_with_wherever_it_is(home: Path, java: Path) -> None:
    jdk = java.parent.parent

    def now() -> str:
        return find(home=home, extensions=(), java=jdk / "bin" / "java", env={}).java_digest

    digests = {now()}
    for name in ("bin/java", "lib/modules", "lib/server/libjvm.so", "conf/logging.properties"):
        (jdk / name).parent.mkdir(parents=True, exist_ok=True)
        (jdk / name).write_text(name)
        digests.add(now())
    assert len(digests) == 5
    for name in ("lib/server/classes.jsa", "lib/src.zip", "lib/security/cacerts", "legal/LICENSE"):
        (jdk / name).parent.mkdir(parents=True, exist_ok=True)
        (jdk / name).write_text(name)
        digests.add(now())
    jdk = jdk.rename(home / "jdk")
    digests.add(now())
    assert len(digests) == 5


def test_a_program_that_leads_to_a_java_is_followed_to_it(tmp_path: Path, java: Path) -> None:
    jdk = java.parent.parent
    shim = tmp_path / "shims" / "java"
    shim.parent.mkdir()
    shim.write_text(f"#!/bin/sh\necho '    java.home = {jdk}' >&2\n")
    shim.chmod(0o755)
    assert installation.java_home(shim) is None
    assert asyncio.run(installation.java_told(shim, {})) == java
    shim.write_text("#!/bin/sh\necho nothing\n")
    assert asyncio.run(installation.java_told(shim, {})) == shim


def test_an_extension_that_is_no_jar_or_cannot_be_read_is_named(
    home: Path, java: Path, tmp_path: Path
) -> None:
    (tmp_path / "loop.jar").symlink_to("loop.jar")
    with pytest.raises(ToolMissingError, match=r"loop\.jar"):
        find(home=home, extensions=(tmp_path,), java=java, env={})


def test_jars_can_be_taken_out_of_a_directory(home: Path, java: Path, tmp_path: Path) -> None:
    jar(home / "liquibase-commercial.jar")
    target = tmp_path / "data" / "home"
    fetching.from_directory(target, home)
    assert {path.stem for path in target.iterdir()} == set(NEEDED)
    assert find(home=target, extensions=(), java=java, env={}).version == "4.28.0"


def test_a_directory_without_the_jars_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ToolMissingError):
        fetching.from_directory(tmp_path / "home", tmp_path / "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
