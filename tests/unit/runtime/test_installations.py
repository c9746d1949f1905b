import asyncio
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from pgstrata.domain.image import EXPECTED, ICU, Installation, ResolvedImage
from pgstrata.errors import (
    InputChangedError,
    InvalidArgumentError,
    ServerError,
    StepFailedError,
)
from pgstrata.runtime import installations
from pgstrata.runtime.catalogue import Catalogue
from pgstrata.runtime.digest import digest, stamp, watch
from pgstrata.runtime.installations import Finder
from pgstrata.runtime.layout import Layout, Outside, layout_of
from pgstrata.runtime.surroundings import with_surroundings
from tests import needs
from tests.unit.system.test_watching import overflow


def program(path: Path, says: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)


def install(root: Path, version: str = "16.4") -> Path:
    """A PostgreSQL of a few words below ``root``; where its programs are."""
    bin_dir = root / "bin"
    program(bin_dir / "postgres", f'echo "postgres (PostgreSQL) {version} (a test)"')
    for name in ("initdb", "psql"):
        program(bin_dir / name)
    here = '"$(dirname "$0")"/..'
    program(
        bin_dir / "pg_config",
        f"case $1 in --sharedir) echo {here}/share;; --pkglibdir) echo {here}/lib;; "
        f"""--configure) echo "'--with-system-tzdata=$(cd {here}; pwd)/zones' 'CC=cc'";; esac""",
    )
    files = ("share/postgres.bki", "share/extension/plpgsql.control", "lib/plpgsql.so")
    for name in (*files, "zones/Europe/Paris"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return bin_dir


def find_in(*bin_dirs: Path, server_user: str | None = None) -> tuple[Installation, ...]:
    """What is found with these directories in PATH, of what lies there."""
    path = os.pathsep.join(str(one) for one in bin_dirs)
    found = asyncio.run(Finder(server_user, path=path).find())
    return tuple(one for one in found if one.source == "PATH")


def test_an_installation_on_the_path_is_found(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    assert find_in(bin_dir) == (
        Installation(
            version="16.4",
            major=16,
            bin_dir=bin_dir,
            source="PATH",
            extensions=("plpgsql",),
            lacks=EXPECTED,
        ),
    )


def test_the_newest_comes_first(tmp_path: Path) -> None:
    old, new = install(tmp_path / "a", "14.9"), install(tmp_path / "b", "14.10")
    assert [one.version for one in find_in(old, new)] == ["14.10", "14.9"]


def test_an_installation_with_two_names_is_found_once(tmp_path: Path) -> None:
    bin_dir = install(tmp_path / "real")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "postgres").symlink_to(bin_dir / "postgres")
    (tmp_path / "other").symlink_to("real")
    found = find_in(tmp_path / "links", tmp_path / "other" / "bin", bin_dir)
    assert [one.bin_dir for one in found] == [bin_dir]


def test_a_server_without_initdb_is_no_installation(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    (bin_dir / "initdb").unlink()
    assert find_in(bin_dir, tmp_path / "missing") == ()


def test_a_python_package_is_found_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "pgserver"
    bin_dir = install(package / "pginstall")
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installations.bin_dirs("", tmp_path / "none")[bin_dir] == "pgserver"


def test_a_missing_psql_is_a_problem(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    (bin_dir / "psql").unlink()
    (found,) = find_in(bin_dir)
    assert "there is no psql" in (found.problem or "")


def test_an_old_version_is_a_problem(tmp_path: Path) -> None:
    (found,) = find_in(install(tmp_path, "9.6.24"))
    assert (found.version, found.major) == ("9.6", 9)
    assert "too old" in (found.problem or "")


def test_a_server_that_does_not_run_is_a_problem(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    program(bin_dir / "postgres", "exit 127")
    (found,) = find_in(bin_dir)
    assert found.version == "unknown"
    assert "exit code 127" in (found.problem or "")


@needs.root
def test_an_installation_the_servers_user_cannot_reach_names_the_way(reachable_dir: Path) -> None:
    shut = reachable_dir / "shut-away"
    bin_dir = install(shut)
    shut.chmod(0o700)
    (found,) = find_in(bin_dir, server_user="nobody")
    assert found.version == "16.4"
    assert f"nobody cannot enter {shut};" in (found.problem or "")
    shut.chmod(0o711)
    assert [one.problem for one in find_in(bin_dir, server_user="nobody")] == [None]


@needs.root
def test_a_binary_the_servers_user_cannot_reach_is_told_as_well(reachable_dir: Path) -> None:
    # Unlike a script, the kernel loads it before the right to pass everywhere is gone.
    real = asyncio.run(Finder(None).find())[0]
    shut = reachable_dir / "shut-away"
    bin_dir = install(shut)
    shutil.copy(real.bin_dir / "postgres", bin_dir / "postgres")
    shut.chmod(0o700)
    (found,) = find_in(bin_dir, server_user="nobody")
    assert f"nobody cannot enter {shut};" in (found.problem or "")


def test_an_installation_is_run_once_until_it_changes(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    runs = tmp_path / "runs"
    count = f'echo >> {shlex.quote(str(runs))}; echo "postgres (PostgreSQL) '
    program(bin_dir / "postgres", f'{count}16.4"')
    finder = Finder(None, path=str(bin_dir))
    for _ in range(2):
        asyncio.run(finder.find())
    assert runs.read_text() == "\n"
    program(bin_dir / "postgres", f'{count}16.10"')
    assert "16.10" in [one.version for one in asyncio.run(finder.find())]


def layout(root: Path) -> Layout:
    return Layout(bin_dir=root / "bin", share_dir=root / "share", library_dir=root / "lib")


def test_the_same_files_elsewhere_have_the_same_digest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        install(tmp_path / name)
    assert digest("16.4", layout(tmp_path / "a")) == digest("16.4", layout(tmp_path / "b"))


@pytest.mark.parametrize(
    "name",
    ["bin/postgres", "bin/initdb", "bin/psql", "share/extension/plpgsql.control", "lib/plpgsql.so"],
)
def test_a_file_that_changes_in_place_changes_digest_and_stamp(tmp_path: Path, name: str) -> None:
    install(tmp_path)
    before = digest("16.4", layout(tmp_path)), stamp(layout(tmp_path))
    path = tmp_path / name
    with path.open("a") as file:
        file.write("#")
    after = digest("16.4", layout(tmp_path)), stamp(layout(tmp_path))
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_file_that_moves_changes_the_digest(tmp_path: Path) -> None:
    install(tmp_path)
    before = digest("16.4", layout(tmp_path))
    (tmp_path / "share" / "postgres.bki").rename(tmp_path / "share" / "extension" / "postgres.bki")
    assert digest("16.4", layout(tmp_path)) != before


def test_a_file_that_is_added_changes_the_digest(tmp_path: Path) -> None:
    install(tmp_path)
    before = digest("16.4", layout(tmp_path))
    (tmp_path / "lib" / "postgis.so").write_text("")
    assert digest("16.4", layout(tmp_path)) != before


def test_another_version_has_another_digest(tmp_path: Path) -> None:
    install(tmp_path)
    assert digest("16.4", layout(tmp_path)) != digest("16.5", layout(tmp_path))


def catalogue(bin_dir: Path) -> Catalogue:
    return Catalogue(Finder(None, path=str(bin_dir)), fresh_seconds=0)


def test_an_image_changes_when_a_file_of_its_installation_does(tmp_path: Path) -> None:
    images = catalogue(install(tmp_path, "19.77"))
    before = asyncio.run(images.resolve("postgres:19.77"))
    assert asyncio.run(images.resolve("postgres:19.77")) == before
    (tmp_path / "share" / "postgres.bki").write_text("changed")
    after = asyncio.run(images.resolve("postgres:19.77"))
    assert after.image_id != before.image_id
    with pytest.raises(InvalidArgumentError, match="not installed"):
        asyncio.run(images.resolve(before.image_id))


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bin/psql", "PostgreSQL's programs"),
        ("share/postgres.bki", "PostgreSQL's files"),
        ("share/extension/plpgsql.control", "extensions"),
        ("share/extension/new.control", "extensions"),
        ("lib/plpgsql.so", "extensions"),
        ("zones/Europe/Paris", "tzdata"),
        ("zones/Atlantis", "tzdata"),
    ],
)
def test_an_image_says_which_part_of_it_changed(tmp_path: Path, name: str, part: str) -> None:
    images = catalogue(install(tmp_path, "19.77"))

    def resolved() -> ResolvedImage:
        return asyncio.run(images.resolve("postgres:19.77"))

    before = resolved()
    with (tmp_path / name).open("a") as file:
        file.write("# changed")
    after = resolved()
    assert after.image_id != before.image_id
    assert {key for key in after.parts if after.parts[key] != before.parts[key]} == {part}
    images.close()


def _there_and_back(path: Path) -> None:
    before = path.read_bytes()
    path.write_bytes(before + b"# changed")
    path.write_bytes(before)


def _away_and_back(path: Path) -> None:
    path.rename(path.with_name("aside"))
    path.with_name("aside").rename(path)


def _appear_and_go(path: Path) -> None:
    path.with_name("new.control").touch()
    path.with_name("new.control").unlink()


@pytest.mark.parametrize(
    ("touch", "name"),
    [
        (_there_and_back, "bin/psql"),
        (_there_and_back, "share/extension/plpgsql.control"),
        (_there_and_back, "lib/plpgsql.so"),
        (_there_and_back, "zones/Europe/Paris"),
        (_there_and_back, "words/stop"),
        (_away_and_back, "share/extension"),
        (_away_and_back, "share"),
        (_away_and_back, "share/words"),
        (_away_and_back, "bin"),
        (_appear_and_go, "share/extension/plpgsql.control"),
    ],
)
def test_what_is_touched_while_somebody_relies_on_it_is_named(
    tmp_path: Path, touch: Callable[[Path], None], name: str
) -> None:
    images = catalogue(install(tmp_path, "19.77"))
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "stop").write_text("the")
    (tmp_path / "share" / "words").symlink_to("../words")

    async def touching(image_id: str, failing: bool) -> None:
        async with images.unchanged(image_id):
            touch(tmp_path / name)
            if failing:
                raise StepFailedError("nonsense", remedy="none")

    async def scenario(failing: bool) -> None:
        image = await images.resolve("postgres:19.77")
        async with images.unchanged(image.image_id) as installation:
            assert installation.version == "19.77"
        with pytest.raises(InputChangedError, match=r"19\.77") as failed:
            await touching(image.image_id, failing)
        assert f"{tmp_path}/" in (failed.value.details or "")
        # It is the same again, and can be used.
        assert await images.resolve("postgres:19.77") == image
        async with images.unchanged(image.image_id):
            (tmp_path / "beside").touch()

    asyncio.run(scenario(failing=False))
    asyncio.run(scenario(failing=True))
    images.close()


def test_after_events_were_lost_an_installation_is_compared_and_watched_anew(
    tmp_path: Path,
) -> None:
    images = catalogue(install(tmp_path / "a", "19.77"))
    (tmp_path / "busy").mkdir()

    async def losing(image: ResolvedImage, change: Callable[[], object]) -> None:
        async with images.unchanged(image.image_id):
            overflow(tmp_path / "busy")
            change()

    async def scenario() -> None:
        image = await images.resolve("postgres:19.77")
        with pytest.raises(InputChangedError):
            await losing(image, lambda: _there_and_back(tmp_path / "a" / "bin" / "psql"))
        assert await images.resolve("postgres:19.77") == image
        async with images.unchanged(image.image_id):
            pass

    asyncio.run(scenario())
    images.close()


def test_a_link_to_a_directory_below_an_installation_counts_as_what_is_in_it(
    tmp_path: Path,
) -> None:
    install(tmp_path / "a")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "stop").write_text("the")
    (tmp_path / "a" / "share" / "words").symlink_to(tmp_path / "words")
    (tmp_path / "words" / "round").symlink_to(tmp_path / "a" / "share")
    before = digest("16.4", layout(tmp_path / "a"))
    assert digest("16.4", layout(tmp_path / "a")) == before
    (tmp_path / "words" / "stop").write_text("a")
    assert digest("16.4", layout(tmp_path / "a")) != before


def test_where_links_of_an_installation_lead_is_known(tmp_path: Path) -> None:
    install(tmp_path / "a")
    for name in ("words", "more"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stop").write_text("the")
    (tmp_path / "a" / "share" / "words").symlink_to("../../words")
    (tmp_path / "words" / "more").symlink_to(tmp_path / "more")
    (tmp_path / "a" / "lib" / "b.so").symlink_to("c.so")
    found = set(layout(tmp_path / "a").links())
    assert found == {tmp_path / "words", tmp_path / "more"}


def test_every_library_that_is_loaded_counts() -> None:
    found = next(one for one in asyncio.run(Finder(None).find()) if one.problem is None)

    async def whole() -> Layout:
        return await with_surroundings(await layout_of(found.bin_dir))

    layout = asyncio.run(whole())
    loading = [*(found.bin_dir / name for name in ("postgres", "initdb", "psql"))]
    loading += (Path(file.path) for file in layout.modules())
    told = subprocess.run(["ldd", *loading], capture_output=True, text=True).stdout
    loaded = {
        Path(path).resolve() for path in re.findall(r"(?m)(?:=> |^\s+)(/.+) \(0x[0-9a-f]+\)$", told)
    }
    assert any(path.name.startswith("libc.so") for path in loaded)
    assert loaded <= {Path(file.path).resolve() for file in layout.files()}


def test_a_library_and_what_its_name_leads_to_count_and_nothing_beside_it(tmp_path: Path) -> None:
    install(tmp_path / "a")
    for name in ("libx.so.1.2", "libx.so.1.3", "liby.so.1"):
        (tmp_path / name).write_text(name)
    (tmp_path / "libx.so.1").symlink_to("libx.so.1.2")
    used = Outside("libraries/libx.so.1", tmp_path / "libx.so.1")
    whole = replace(layout(tmp_path / "a"), outside=(used,))

    def touched(change: Callable[[], object]) -> bool:
        with watch(whole) as begun:
            change()
            return begun.disturbed() is not None

    def lead_elsewhere() -> None:
        (tmp_path / "libx.so.1").unlink()
        (tmp_path / "libx.so.1").symlink_to("libx.so.1.3")

    before = digest("16.4", whole)
    assert not touched(lambda: _there_and_back(tmp_path / "liby.so.1"))
    assert touched(lambda: _there_and_back(tmp_path / "libx.so.1.2"))
    assert digest("16.4", whole) == before
    assert touched(lead_elsewhere)
    assert digest("16.4", whole) != before


def test_an_image_whose_server_was_replaced_is_not_run_any_more(tmp_path: Path) -> None:
    bin_dir = install(tmp_path, "19.77")
    images = catalogue(bin_dir)
    image = asyncio.run(images.resolve("postgres:19.77"))
    assert asyncio.run(images.installation(image.image_id)).bin_dir == bin_dir
    install(tmp_path, "19.78")
    with pytest.raises(ServerError, match="not installed"):
        asyncio.run(images.installation(image.image_id))


@pytest.mark.parametrize("part", ["lib", "share/extension"])
def test_an_installation_that_is_not_whole_says_so(tmp_path: Path, part: str) -> None:
    bin_dir = install(tmp_path, "19.77")
    shutil.rmtree(tmp_path / part)
    with pytest.raises(InvalidArgumentError, match="incomplete"):
        asyncio.run(catalogue(bin_dir).resolve("postgres:19.77"))


def test_what_can_be_had_as_an_extension_is_seen_as_it_comes_and_goes(tmp_path: Path) -> None:
    finder = Finder(None, path=str(install(tmp_path, "19.77")), home=tmp_path / "none")

    def seen() -> Installation:
        return next(one for one in asyncio.run(finder.find()) if one.version == "19.77")

    assert "pgcrypto" in seen().lacks
    control = tmp_path / "share" / "extension" / "pgcrypto.control"
    control.write_text("default_version = '1.3'")
    assert seen().extensions == ("pgcrypto", "plpgsql")
    assert "pgcrypto" not in seen().lacks
    control.unlink()
    assert "pgcrypto" in seen().lacks


def test_a_server_with_icu_is_told_by_what_it_calls(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    (without,) = find_in(bin_dir)
    with (bin_dir / "postgres").open("a") as file:
        file.write("# ucol_open_72\n")
    (having,) = find_in(bin_dir)
    assert ICU in without.lacks
    assert ICU not in having.lacks


@pytest.mark.parametrize("own", [".", "postgresql"])
def test_without_pg_config_parts_are_where_the_server_looks_for_them(
    tmp_path: Path, own: str
) -> None:
    bin_dir = install(tmp_path)
    (bin_dir / "pg_config").unlink()
    for name in ("share", "lib"):
        (tmp_path / name).rename(tmp_path / "moved")
        (tmp_path / name / own).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "moved").rename((tmp_path / name / own).resolve())
    found = asyncio.run(layout_of(bin_dir))
    assert (found.share_dir, found.library_dir) == (
        (tmp_path / "share" / own),
        (tmp_path / "lib" / own),
    )
    assert find_in(bin_dir)[0].problem is None


def test_without_pg_config_the_libraries_it_brings_count(tmp_path: Path) -> None:
    bin_dir = install(tmp_path)
    (bin_dir / "pg_config").unlink()
    (tmp_path / "lib" / "postgresql").mkdir()
    (tmp_path / "lib" / "plpgsql.so").rename(tmp_path / "lib" / "postgresql" / "plpgsql.so")
    (tmp_path / "lib" / "libicui18n.so.60.2").write_text("sorts so")
    found = asyncio.run(layout_of(bin_dir))
    before = digest("16.4", found)
    (tmp_path / "lib" / "libicui18n.so.60.2").write_text("sorts otherwise")
    assert digest("16.4", found) != before


def test_those_that_were_fetched_are_found(tmp_path: Path) -> None:
    bin_dir = install(tmp_path / "home" / "19.77", "19.77")
    install(tmp_path / "home" / ".draft-19.78-x", "19.78")
    finder = Finder(None, path="", home=tmp_path / "home")
    found = [one for one in asyncio.run(finder.find()) if one.major == 19]
    assert [(one.bin_dir, one.source) for one in found] == [(bin_dir, "pgstrata postgres install")]
