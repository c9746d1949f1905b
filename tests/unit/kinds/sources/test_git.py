"""Sources in a revision: what git has of it, and nothing of the work tree."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pgstrata.domain.plan import Input
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import missing
from pgstrata.kinds.sources.git import GitTree, Revisions
from pgstrata.kinds.sources.local import LocalTree
from tests import needs

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree that was emptied and written anew since its only commit, with tag ``v1``."""
    top = tmp_path_factory.mktemp("a repo, of mine")
    contents = {
        "a.sql": "select 1;\n",
        "db/b.sql": "\n\n",
        "db/empty.sql": "",
        "db/ü b.sql": "select 'ü';",
        "big.csv": POINTER,
    }
    for name, content in contents.items():
        path = top / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    (top / "db" / "up").symlink_to("../a.sql")
    (top / "dir").symlink_to("db")
    (top / "out").symlink_to("/etc/passwd")
    (top / "loop").symlink_to("loop")
    (top / "here").symlink_to(top / "a.sql")
    git(top, "init", "-q")
    git(top, "add", "-A")
    git(top, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor")
    git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    git(top, "tag", "v1")
    (top / "a.sql").write_text("select 2;\n")
    (top / "new.sql").write_text("")
    return top


def git(top: Path, *words: str) -> str:
    if shutil.which("git") is None:
        needs.missing("git")
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(top)}
    done = subprocess.run(["git", *words], cwd=top, env=env, check=True, capture_output=True)
    return done.stdout.decode().strip()


def read(tree: GitTree, path: Path) -> bytes:
    return tree.read(path, lambda file: file.read())[1]


def test_a_file_has_the_digest_of_its_content_in_the_revision(work: Path) -> None:
    tree = GitTree(work / "db", "v1")
    away_and_back = f"../../{work.parent.name}/./{work.name}/db/up"
    (work / "same").write_text("select 1;\n")
    same = LocalTree().look(work / "same").input
    for name in (
        "a.sql",
        "db/../a.sql",
        "db/up",
        "dir/up",
        "here",
        f"../{work.name}/a.sql",
        away_and_back,
    ):
        seen = tree.look(work / name).input
        assert (seen.digest, seen.size) == (same.digest, same.size), name
        assert seen.name == str(work / name)
        assert read(tree, work / name) == b"select 1;\n"
    assert read(tree, work / "db" / "empty.sql") == b""
    assert read(tree, work / "db" / "b.sql") == b"\n\n"
    assert read(tree, work / "dir" / "ü b.sql") == "select 'ü';".encode()
    for name in ("new.sql", "same", "db/nowhere.sql"):
        assert tree.look(work / name).input == Input(name=str(work / name), digest=None)
    listing = tree.list(work / "dir")
    assert listing is not None
    assert listing.names == ("b.sql", "empty.sql", "up", "ü b.sql")
    assert tree.real(work / "dir" / "up") == work / "a.sql"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vendor", "submodule vendor"),
        ("vendor/x.sql", "submodule vendor"),
        ("big.csv", "git-lfs"),
        ("out", "outside the repository"),
        ("../x.sql", "outside the repository"),
        ("../../../x.sql", "outside the repository"),
        ("loop", "without an end"),
        ("db", "not a regular file"),
    ],
)
def test_what_git_does_not_have_is_told(work: Path, name: str, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told) as caught:
        GitTree(work, "v1").look(work / name)
    assert caught.value.remedy


def test_a_tool_finds_the_revisions_files_at_their_paths(work: Path) -> None:
    async def scenario() -> None:
        tree = GitTree(work, "HEAD")
        names = ("a.sql", "db/up", "db/b.sql", "db/empty.sql")
        async with tree.hold([tree.look(work / name).input for name in names]) as held:
            below = held.local_root / str(work).lstrip("/")
            assert (below / "db" / "up").read_text() == "select 1;\n"
            assert (below / "db" / "b.sql").read_text() == "\n\n"
            assert not (below / "new.sql").exists()
        assert not below.exists()
        request = PrepareRequest(prepare_kind="lb", image_id="x", work_dir=str(work), ref="v1")
        pinned = await Revisions(LocalTree()).pin(request)
        assert pinned.ref == tree.commit
        async with Revisions(LocalTree()).of(pinned, in_directory=True) as extracted:
            assert extracted.local_root is not None
            below = extracted.local_root / str(work).lstrip("/")
            assert (below / "dir" / "up").read_text() == "select 1;\n"
            assert (below / "here").read_text() == "select 1;\n"
            assert not (below / "out").exists()
            assert extracted.look(work / "a.sql").input == tree.look(work / "a.sql").input
            for name in ("big.csv", "vendor/x"):
                with pytest.raises(InvalidArgumentError):
                    extracted.look(work / name)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("start", "ref", "told"),
    [
        (lambda work: work, "v2", "no revision 'v2'"),
        (lambda work: work, "--all", "no revision '--all'"),
        (lambda work: work, "v1:a.sql", "no revision"),
        (lambda work: work, "^v1", "no revision"),
        (lambda work: work.parent, "v1", "not in the work tree"),
        (lambda work: work / ".git", "v1", "not in the work tree"),
    ],
)
def test_what_is_no_revision_of_a_repository_is_told(
    work: Path, start: Callable[[Path], Path], ref: str, told: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        GitTree(start(work), ref)


def test_a_directory_that_the_revision_lacks_is_told(work: Path) -> None:
    (work / "later").mkdir()
    with pytest.raises(InvalidArgumentError, match="no directory"):
        GitTree(work / "later", "v1")


def test_a_file_that_a_partial_clone_lacks_is_told(work: Path, tmp_path: Path) -> None:
    git(work, "config", "uploadpack.allowFilter", "true")
    partial = ("clone", "-q", "--no-checkout", "--filter=blob:none")
    git(tmp_path, *partial, work.as_uri(), "partial")
    with pytest.raises(InvalidArgumentError, match="lacks a file") as caught:
        GitTree(tmp_path / "partial", "v1").look(tmp_path / "partial" / "a.sql")
    assert "fetch" in (caught.value.remedy or "")


@pytest.mark.parametrize("name", ["..", ".", ".git"])
def test_a_revision_whose_names_lead_elsewhere_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_text("")
    git(tmp_path, "init", "-q")
    blob = git(tmp_path, "hash-object", "-w", "a")
    (tmp_path / "inner").write_bytes(b"100644 x\0" + bytes.fromhex(blob))
    inner = git(tmp_path, "hash-object", "--literally", "-w", "-t", "tree", "inner")
    (tmp_path / "outer").write_bytes(f"40000 {name}\0".encode() + bytes.fromhex(inner))
    outer = git(tmp_path, "hash-object", "--literally", "-w", "-t", "tree", "outer")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    commit = git(tmp_path, *who, "commit-tree", "-m", "bad", outer)
    with pytest.raises(InvalidArgumentError, match=f"'{name}'"):
        GitTree(tmp_path, commit)


def test_what_a_revision_lacks_is_said_to_be_missing_there(work: Path) -> None:
    tree = GitTree(work, "v1")
    assert tree.look(work / "new.sql").input.digest is None
    error = missing(tree, work / "new.sql")
    assert error.message == f"{work}/new.sql does not exist in revision v1"
    assert "create" not in (error.remedy or "")
    with tree.extracted() as copy:
        assert missing(copy, work / "new.sql").message == error.message
    assert "create the file" in (missing(LocalTree(), work / "new.sql").remedy or "")
