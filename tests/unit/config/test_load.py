"""Layers of configuration, by real files."""

import os
from pathlib import Path

import pytest

from pgstrata.config.keys import settings_of
from pgstrata.config.load import ROOT_STORE, load
from pgstrata.config.model import Configuration
from pgstrata.errors import InvalidArgumentError


class Place:
    """A home and a project, with files written by need."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        self.project = root / "project"
        self.cwd = self.project / "deep" / "down"
        self.cwd.mkdir(parents=True)
        self.env = {"HOME": str(self.home)}

    def write_project(self, text: str) -> Path:
        return self._write(self.project / ".pgstrata" / "config.yaml", text)

    def write_user(self, text: str) -> Path:
        return self._write(self.home / ".config" / "pgstrata" / "config.yaml", text)

    def load(self, profile: str | None = None, **flags: str) -> Configuration:
        return load(self.cwd, self.env, profile, flags)

    @staticmethod
    def _write(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_layer_gives_way_to_the_one_before_it(place: Place) -> None:
    place.write_user("image: from-user")
    assert place.load().image == "from-user"
    place.write_project("image: from-project")
    assert place.load().image == "from-project"
    place.env["PGSTRATA_IMAGE"] = "from-variable"
    assert place.load().image == "from-variable"
    assert place.load(image="from-flag").image == "from-flag"


def test_layers_are_merged_key_by_key(place: Place) -> None:
    place.write_user("timeout: 15m\nimage: from-user")
    place.write_project("image: from-project")
    assert (place.load().timeout, place.load().image) == (900, "from-project")


def test_the_nearest_project_file_counts(place: Place) -> None:
    place.write_project("image: far")
    place._write(place.project / "deep" / ".pgstrata" / "config.yaml", "image: near")
    assert place.load().image == "near"


def test_a_profile_comes_before_the_plain_settings_of_its_file(place: Place) -> None:
    place.write_user("image: plain\ntimeout: 10\nprofiles: {ci: {image: special}}")
    assert (place.load("ci").image, place.load("ci").timeout) == ("special", 10)
    assert place.load().image == "plain"


def test_the_profile_may_come_from_the_environment(place: Place) -> None:
    place.write_project("profiles: {ci: {image: special}}")
    place.env["PGSTRATA_PROFILE"] = "ci"
    assert place.load().image == "special"


def test_an_unknown_profile_is_answered_with_those_there_are(place: Place) -> None:
    place.write_project("profiles: {ci: {image: special}, local: {}}")
    with pytest.raises(InvalidArgumentError) as caught:
        place.load("prod")
    assert caught.value.remedy == "known profiles: ci, local"


def test_the_engines_settings_are_read(place: Place) -> None:
    place.write_project(
        """
        snapshot: {backend: btrfs}
        runtime: {user: postgres, settings: {shared_buffers: 64MB, jit: off, work_mem: 1024}}
        orchestrator: {jobs: {maxParallel: 3, maxIdentical: 0, timeout: 15m, drainTimeout: 5}}
        """
    )
    settings = settings_of(place.load().engine)
    assert settings.snapshot.backend == "btrfs"
    assert settings.runtime.user == "postgres"
    jobs = settings.orchestrator.jobs
    assert (jobs.max_parallel, jobs.max_identical) == (3, 0)
    assert (jobs.timeout, jobs.drain_timeout) == (900, 5)
    assert settings.runtime.settings == {
        "shared_buffers": "64MB",
        "jit": "off",
        "work_mem": "1024",
    }


def test_how_much_the_cache_may_hold_is_read_as_sizes_shares_and_times(place: Place) -> None:
    place.write_project(
        "cache: {capacity: {maxBytes: 10GB, reserveBytes: 0, highWatermark: 0.7, minStateAge: 5m}}"
    )
    place.env["PGSTRATA_CACHE_CAPACITY_LOWWATERMARK"] = "0.6"
    assert place.load().engine == {
        "cache.capacity.maxBytes": 10**10,
        "cache.capacity.reserveBytes": 0,
        "cache.capacity.highWatermark": 0.7,
        "cache.capacity.lowWatermark": 0.6,
        "cache.capacity.minStateAge": 300,
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("cache: {capacity: {maxBytes: much}}", "cache.capacity.maxBytes"),
        ("cache: {capacity: {maxBytes: 0}}", "cache.capacity.maxBytes"),
        ("cache: {capacity: {reserveBytes: true}}", "cache.capacity.reserveBytes"),
        ("cache: {capacity: {highWatermark: 90}}", "cache.capacity.highWatermark"),
        ("cache: {capacity: {minStateAge: old}}", "cache.capacity.minStateAge"),
        ("imagee: x", "imagee"),
        ("snapshot: {backnd: x}", "snapshot.backnd"),
        ("snapshot: {backend: magic}", "snapshot.backend"),
        ("snapshot: copy", "snapshot"),
        ("timeout: soon", "timeout"),
        ("timeout: true", "timeout"),
        ("timeout: 0", "timeout"),
        ("image: 17", "image"),
        ("image: [a, b]", "image"),
        ("orchestrator: {jobs: {maxParallel: 0}}", "orchestrator.jobs.maxParallel"),
        ("orchestrator: {jobs: {maxParallel: 1.5}}", "orchestrator.jobs.maxParallel"),
        ("profiles: {ci: {imagee: x}}", "imagee"),
        ("profiles: [ci]", "profiles"),
        ("profiles: {ci: yes}", "profiles.ci"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_key(place: Place, text: str, key: str) -> None:
    path = place.write_project(text)
    with pytest.raises(InvalidArgumentError) as caught:
        place.load()
    assert caught.value.message.startswith(f"{path}: ")
    assert f" {key}" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["image: [", "- a list", "just words"])
def test_a_file_that_is_no_configuration_is_told_so(place: Place, text: str) -> None:
    path = place.write_project(text)
    with pytest.raises(InvalidArgumentError, match=str(path)):
        place.load()


@pytest.mark.parametrize("text", ["", "# nothing\n", "image:\n", "profiles:\n", "profiles: {ci: }"])
def test_an_empty_file_changes_nothing(place: Place, text: str) -> None:
    before = place.load()
    place.write_project(text)
    assert place.load() == before


def test_a_wrong_variable_is_told_by_its_name(place: Place) -> None:
    place.env["PGSTRATA_ORCHESTRATOR_JOBS_MAXPARALLEL"] = "many"
    with pytest.raises(InvalidArgumentError, match="PGSTRATA_ORCHESTRATOR_JOBS_MAXPARALLEL"):
        place.load()


def test_a_store_in_a_project_file_starts_from_the_project(place: Place) -> None:
    place.write_project("store: .cache/db")
    assert place.load().store == place.project / ".cache" / "db"


def test_a_store_named_otherwise_starts_from_the_callers_directory(place: Place) -> None:
    assert place.load(store="../here").store == place.cwd.parent / "here"


def test_xdg_moves_the_users_file(place: Place) -> None:
    place.env["XDG_CONFIG_HOME"] = str(place.home / "elsewhere")
    place._write(place.home / "elsewhere" / "pgstrata" / "config.yaml", "image: moved")
    assert place.load().image == "moved"


def test_the_default_store_is_the_systems_for_root(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place.load().store == ROOT_STORE


def test_the_default_store_is_the_users_own_for_anyone_else(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert place.load().store == place.home / ".local" / "share" / "pgstrata"
    place.env["XDG_DATA_HOME"] = "/data"
    assert place.load().store == Path("/data/pgstrata")


def test_how_a_cluster_is_made_stands_beside_the_image_in_either_spelling(place: Place) -> None:
    place.write_user(
        "image:\n  name: from-user\n  initdb:\n    locale: de-DE\n    encoding: UTF8\n"
    )
    place.write_project("image: from-project\nimage.initdb.localeProvider: icu\n")
    place.env["PGSTRATA_IMAGE_INITDB_DATACHECKSUMS"] = "false"
    loaded = place.load()
    assert loaded.image == "from-project"
    assert loaded.initdb == ("de-DE", "icu", "UTF8", False)


def test_a_locale_provider_that_there_is_none_of_is_refused_by_its_key(place: Place) -> None:
    place.write_project("image.initdb.localeProvider: glibc\n")
    with pytest.raises(InvalidArgumentError, match=r"image\.initdb\.localeProvider must be one of"):
        place.load()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('locale: "de DE"', r"locale must be a locale's name of letters, .*; it is \"de DE\""),
        ("encoding: LATIN:1", r"encoding must be an encoding's name of letters, .*"),
    ],
)
def test_what_cannot_be_a_locale_or_an_encoding_is_refused_by_its_key(
    place: Place, line: str, expected: str
) -> None:
    place.write_project(f"image.initdb.{line}\n")
    with pytest.raises(InvalidArgumentError, match=rf"image\.initdb\.{expected}"):
        place.load()
