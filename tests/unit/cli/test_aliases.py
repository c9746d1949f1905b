"""Aliases: files that hold a recipe, found by name, and what is wrong with them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgstrata.cli.aliases import files
from tests.unit.cli.conftest import Pgstrata
from tests.unit.cli.script import DSN, INSTANCE, PLANNED, SUCCESS, script_job
from tests.unit.client.fake_engine import FakeEngine

SHOP = "kind: psql\nimage: postgres:16\nargs: [--ttl, 1h, --, -f, schema.sql, -f, ../seed.sql]\n"
SMOKE = "kind: psql\nargs: [-f, smoke.sql]\n"


@pytest.fixture
def repository(project: Path) -> Path:
    """The caller's directory is one of a repository, which has aliases in another."""
    (project.parent / ".git").mkdir()
    put(project.parent, "db/shop.prep.pgstrata.yaml", SHOP)
    put(project.parent, "db/smoke.run.s9s.yaml", SMOKE)
    return project.parent


def put(directory: Path, name: str, text: str) -> Path:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("words", [("shop",), ("../db/shop",), ("../db/shop.prep.pgstrata.yaml",)])
def test_an_alias_stands_for_its_recipe_with_paths_from_its_file(
    repository: Path, fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...]
) -> None:
    script_job(fake, SUCCESS)
    ran = pgstrata("prepare", "--name", "dev", *words, "--ttl", "5m")
    assert (ran.exit_code, ran.out) == (0, f"DSN={DSN}\n")
    sent = fake.submitted
    db = repository / "db"
    assert sent["psql_args"] == ["-f", f"{db}/schema.sql", "-f", f"{db}/../seed.sql"]
    assert sent["work_dir"] == str(db)
    assert (sent["image_id"], sent["instance_name"]) == ("postgres:16", "dev")
    # What the command line says comes last.
    assert sent["instance_ttl"] == 300


def test_an_alias_is_planned_too(repository: Path, fake: FakeEngine, pgstrata: Pgstrata) -> None:
    script_job(fake, PLANNED)
    ran = pgstrata("plan", "shop", "--image", "postgres:18", "--output", "json")
    assert ran.exit_code == 0
    assert "tasks" in json.loads(ran.out)
    assert fake.submitted["plan_only"]
    assert fake.submitted["image_id"] == "postgres:18"
    assert fake.submitted["work_dir"] == str(repository / "db")


@pytest.mark.parametrize("run", [("run", "where"), ("run:exec", "--", "sh", "-c", 'pwd > "$HERE"')])
def test_an_alias_is_run_against_what_another_prepares(
    repository: Path,
    fake: FakeEngine,
    pgstrata: Pgstrata,
    monkeypatch: pytest.MonkeyPatch,
    run: tuple[str, ...],
) -> None:
    here = repository / "here"
    monkeypatch.setenv("HERE", str(here))
    text = 'kind: exec\nargs: [sh, -c, \'cat ./text; pwd > "$HERE"; test "$PWD" = "$(pwd)"\']\n'
    put(repository, "db/where.run.pgstrata.yaml", text)
    put(repository, "db/text", "")
    monkeypatch.chdir(repository / "project")
    script_job(fake, SUCCESS)
    started = {"instance_id": INSTANCE, "dsn": DSN, "programs": "/nowhere"}
    fake.on("POST", f"/v1/instances/{INSTANCE}/start", started)
    fake.on("DELETE", f"/v1/instances/{INSTANCE}", {"dry_run": False, "outcome": "deleted"})
    assert pgstrata("prepare", "shop", *run).exit_code == 0
    assert Path(here.read_text().strip()).name == ("db" if run[0] == "run" else "project")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("prepare",), "prepare:psql"),
        (("plan", "shopp"), "did you mean shop?"),
        (("prepare", "../db/shopp"), "did you mean shop?"),
        (("run", "smok"), "did you mean smoke?"),
        (("run", "shop"), "pgstrata prepare shop"),
        (("prepare", "smoke"), "pgstrata run smoke"),
        (("prepare", "psql", "-f", "more.sql"), "prepare:psql"),
        (("run", "exec", "ls"), "run:exec"),
        (("prepare", "shop", "-f", "more.sql"), "-f is no option"),
        (("plan", "shop", "--", "more.sql"), "another alias"),
        (("prepare", "shop", "--nmae", "dev"), "--nmae"),
        (("prepare", "shop", "run"), "needs the NAME"),
        (("prepare", "shop", "run", "nothing"), "smoke"),
        (("prepare", "shop", "run:sql"), "another alias"),
        (("prepare", "shop", "--ttl", "5m", "run", "smoke"), "omit --ttl"),
        (("prepare", "shop", "run", "smoke", "--instance", "dev"), "omit --instance"),
        (("alias",), "alias create"),
        (("alias", "create", "x"), "alias create shop"),
        (("alias", "create", "x", "prepare:sql", "-f", "a.sql"), "prepare:psql"),
        (("alias", "create", "x", "prepare:psql", "--", "-h", "db", "-f", "a.sql"), "-h"),
        (("alias", "create", "x", "run:psql", "-U", "me"), "-U"),
        (("alias", "create", "none/x", "run:psql", "-c", "select 1"), "directory"),
        (("alias", "create", "x.run.s9s.yaml", "prepare:psql", "-c", "select 1"), "ending"),
    ],
)
@pytest.mark.usefixtures("repository")
def test_what_cannot_be_meant_is_refused_with_what_could(
    fake: FakeEngine, pgstrata: Pgstrata, words: tuple[str, ...], told: str
) -> None:
    ran = pgstrata(*words)
    assert (ran.exit_code, fake.asked) == (2, [])
    assert told in ran.err


@pytest.mark.usefixtures("repository")
def test_what_starts_from_a_state_has_the_image_of_that(
    fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, PLANNED)
    assert pgstrata("plan", "shop", "--from", "seeded").exit_code == 0
    assert (fake.submitted["from"], fake.submitted.get("image_id", "")) == ("seeded", "")


def test_of_two_with_one_name_a_path_chooses(
    repository: Path, fake: FakeEngine, pgstrata: Pgstrata
) -> None:
    script_job(fake, PLANNED)
    put(repository, "other/shop.prep.s9s.yaml", SHOP)
    both = pgstrata("plan", "shop")
    assert both.exit_code == 2
    assert "../db/shop.prep.pgstrata.yaml\n" in both.err
    assert "../other/shop.prep.s9s.yaml\n" in both.err
    assert pgstrata("plan", "../other/shop").exit_code == 0
    checked = pgstrata("alias", "check")
    assert (checked.exit_code, checked.out.count("the name shop is also that of")) == (1, 2)


def test_only_files_of_this_repository_are_aliases(
    repository: Path, project: Path, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".cache/a", "node_modules/b", "module/c", "project/d"):
        put(repository, f"{name}.prep.pgstrata.yaml", SHOP)
    put(repository, "module/.git", "gitdir: elsewhere")
    (repository / "loop").symlink_to(repository)
    listed = pgstrata("--output", "json", "alias", "ls")
    assert [one["name"] for one in json.loads(listed.out)["aliases"]] == ["shop", "smoke", "d"]
    lines = pgstrata("alias", "ls").out.splitlines()
    assert lines[0].split() == ["NAME", "COMMAND", "KIND", "IMAGE", "FILE"]
    assert lines[1].split() == [
        "shop",
        "prepare",
        "psql",
        "postgres:16",
        "../db/shop.prep.pgstrata.yaml",
    ]
    (repository / ".git").rmdir()
    assert "d.prep" in pgstrata("alias", "ls").out
    assert "shop" not in pgstrata("alias", "ls").out
    (project / "d.prep.pgstrata.yaml").unlink()
    assert pgstrata("alias", "ls").out == f"no aliases in {project}\n"


def test_too_many_directories_are_not_searched(
    repository: Path, pgstrata: Pgstrata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_MOST_DIRECTORIES", 1)
    assert "by its path" in pgstrata("plan", "shop").err


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("kind: psql\nargz: []\nimag: 1\n", {2: "args", 3: "image", 1: "args is missing"}),
        ("knd: psql\nargs: [-f, x]", {1: "kind"}),
        ("kind: psqll\nargs: [-f, x]", {1: "psql"}),
        (
            "kind: ps\nargs:\n- -v\n- 1\n- on\n-\n- [x]",
            {4: "'1'", 5: "'on'", 6: "empty", 7: "list"},
        ),
        ("image: 16\nkind: [psql]\nargs: -f x", {1: "number", 2: "list", 3: "list of strings"}),
        ("kind: psql\nargs: {f: x}", {2: "a mapping"}),
        ("kind: ''\nargs: []\nkind: psql", {1: "empty", 3: "twice"}),
        ("2026-01-01: psql\nkind: psql\nargs: [-f, x]\n", {1: "a date"}),
        ("kind: psql\nargs: [-f, x\n", {3: "not YAML"}),
        ("kind: psql\n---\nargs: []", {2: "not YAML"}),
        ("kind: !!python/name:os.system x\nargs: [x]", {1: "python"}),
        ("- kind: psql", {1: "a mapping"}),
        ("", {None: "a mapping"}),
        ("\0", {None: "not YAML"}),
        ("[" * 5000, {None: ""}),
        ("#" * (1 << 20) + "#", {None: "bytes"}),
        ("kind: psql\nargs: [-h, elsewhere, -f, x]", {None: "-h"}),
        ("kind: exec\nargs: [--input, x]", {None: "no command"}),
    ],
)
def test_all_faults_of_a_file_are_told_with_their_lines(
    project: Path, pgstrata: Pgstrata, text: str, faults: dict[int | None, str]
) -> None:
    put(project, "bad.prep.pgstrata.yaml", text)
    ran = pgstrata("--output", "json", "alias", "check")
    assert ran.exit_code == 1
    found = json.loads(ran.out)["faults"]
    for line, told in faults.items():
        assert any(
            fault["line"] == line and told in f"{fault['text']} {fault['remedy']}"
            for fault in found
        ), found
    used = pgstrata("prepare", "bad")
    assert used.exit_code == 2
    shown = pgstrata("alias", "check").out.splitlines()
    assert shown[-1].startswith("1 alias checked, ")
    assert shown[0].startswith("bad.prep.pgstrata.yaml:")


def test_what_is_no_file_is_said_to_be_none(project: Path, pgstrata: Pgstrata) -> None:
    (project / "gone.prep.pgstrata.yaml").symlink_to("nowhere.yaml")
    (project / "directory.run.pgstrata.yaml").mkdir()
    os.mkfifo(project / "pipe.run.pgstrata.yaml")
    ran = pgstrata("alias", "check")
    assert "it is a link to nowhere.yaml, which is not there" in ran.out
    assert ran.out.count("it is not a file") == 2
    assert "which is not there" in pgstrata("prepare", "gone").err
    assert "faulty" in pgstrata("alias", "ls").out
    run = pgstrata("run", "./directory")
    assert (run.exit_code, "not a file" in run.err) == (2, True)


@pytest.mark.parametrize("kind", ["pgbenchh", "lb"])
def test_a_run_has_kinds_of_its_own(project: Path, pgstrata: Pgstrata, kind: str) -> None:
    put(project, "load.run.pgstrata.yaml", f"kind: {kind}\nargs: []\n")
    assert "pgbench" in pgstrata("run", "load").err


@pytest.mark.parametrize(
    ("words", "content"),
    [
        (
            ("shop", "prepare:psql", "--image=postgres:17", "--ttl", "1h", "-f", "on", "-c", "1"),
            {
                "kind": "psql",
                "image": "postgres:17",
                "args": ["--ttl", "1h", "--", "-f", "on", "-c", "1"],
            },
        ),
        (
            ("e", "prepare:exec", "--network", "--input", "x y", "--", "sh", "-c", "ä: 'x'"),
            {"kind": "exec", "args": ["--network", "--input", "x y", "--", "sh", "-c", "ä: 'x'"]},
        ),
        (("s", "run:psql", "-c", "select 1"), {"kind": "psql", "args": ["-c", "select 1"]}),
    ],
)
def test_an_alias_is_written_once_and_read_back(
    project: Path, pgstrata: Pgstrata, words: tuple[str, ...], content: dict[str, Any]
) -> None:
    assert pgstrata("alias", "create", *words).exit_code == 0
    [file] = project.glob("*.pgstrata.yaml")
    assert yaml.safe_load(file.read_bytes()) == content
    file.write_text("mine")
    again = pgstrata("alias", "create", *words)
    assert (again.exit_code, file.read_text(), "--force" in again.err) == (4, "mine", True)
    assert pgstrata("alias", "create", "--force", *words).out == f"{file.name}\n"
    assert yaml.safe_load(file.read_bytes()) == content
    assert pgstrata("alias", "check").exit_code == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("-dash", "looks like an option"),
        ("db/-dash", "looks like an option"),
        ("--forse", "unknown option --forse"),
        ("", "empty"),
        ("db/", "a directory"),
        ("..", "a directory"),
        (" x", "blanks"),
        ("x\ny", "cannot be printed"),
        ("../../x", "outside"),
        ("/x", "outside"),
        ("linked/x", "outside"),
    ],
)
def test_an_alias_that_nobody_could_use_is_not_written(
    repository: Path, project: Path, pgstrata: Pgstrata, name: str, reason: str
) -> None:
    (project / "linked").symlink_to(repository.parent)
    before = sorted(repository.parent.rglob("*.yaml"))
    ran = pgstrata("alias", "create", name, "prepare:psql", "-c", "select 1")
    assert (ran.exit_code, reason in ran.err) == (2, True)
    assert sorted(repository.parent.rglob("*.yaml")) == before


def test_an_alias_may_be_anywhere_in_the_repository(
    repository: Path, project: Path, pgstrata: Pgstrata
) -> None:
    assert pgstrata("alias", "create", "../db/x", "prepare:psql", "-c", "1").exit_code == 0
    assert (repository / "db" / "x.prep.pgstrata.yaml").exists()
