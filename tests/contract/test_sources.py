"""What every tree of sources does."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

import pytest
from msgspec.structs import replace

from pgstrata.domain.plan import Input
from pgstrata.errors import InputChangedError, InvalidArgumentError, StepFailedError
from pgstrata.kinds.sources.base import Seen, Sources, local_path
from pgstrata.kinds.sources.local import LocalTree
from pgstrata.kinds.sources.memo import Memo
from pgstrata.kinds.sources.memory import MemorySources


class Tree(Protocol):
    """Sources, and a way to write to them."""

    sources: Sources
    top: PurePosixPath
    """The directory with everything."""

    def write(self, name: str, content: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


class MachineTree:
    """The machine's own tree."""

    def __init__(self, directory: Path) -> None:
        self.sources: Sources = LocalTree()
        self.top = PurePosixPath(directory)
        self._directory = directory

    def write(self, name: str, content: bytes) -> None:
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name: str) -> None:
        (self._directory / name).unlink()


class DirectoryTree(MachineTree):
    """A directory that stands for a tree of its own."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "top")
        self.sources = LocalTree(directory)
        self.top = PurePosixPath("/top")


class ForgetfulTree(MachineTree):
    """A tree that remembers nothing of what it read."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.sources = LocalTree(memo_size=0)


class MemoryTree:
    def __init__(self, _directory: Path) -> None:
        self._files = MemorySources()
        self.sources: Sources = self._files
        self.top = PurePosixPath("/some/where")

    def write(self, name: str, content: bytes) -> None:
        self._files.write(str(self.top / name), content)

    def remove(self, name: str) -> None:
        self._files.remove(str(self.top / name))


MAKERS: dict[str, Callable[[Path], Tree]] = {
    "machine": MachineTree,
    "directory": DirectoryTree,
    "forgetful": ForgetfulTree,
    "memory": MemoryTree,
}


@pytest.fixture(params=sorted(MAKERS))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    made = MAKERS[request.param](tmp_path)
    made.write("a.sql", b"select 1;")
    made.write("sub/b.sql", b"select 2;")
    return made


def _look(tree: Tree, name: str) -> Seen:
    return tree.sources.look(tree.top / name)


def _whole(file: BinaryIO) -> bytes:
    return file.read()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_named_by_its_content(tree: Tree) -> None:
    expected = Input(name=f"{tree.top}/a.sql", digest=_sha(b"select 1;"), size=9)
    assert _look(tree, "a.sql").input == expected
    assert _look(tree, "a.sql") == _look(tree, "a.sql")


@pytest.mark.parametrize("name", ["none.sql", "none/a.sql", "a.sql/below", "nu\0l"])
def test_what_is_not_there_can_be_told_apart(tree: Tree, name: str) -> None:
    assert _look(tree, name).input == Input(name=f"{tree.top}/{name}", digest=None)
    with pytest.raises(FileNotFoundError):
        tree.sources.read(tree.top / name, _whole)


def test_what_is_read_is_what_the_digest_is_of(tree: Tree) -> None:
    seen, content = tree.sources.read(tree.top / "a.sql", _whole)
    assert content == b"select 1;"
    assert seen == _look(tree, "a.sql")


def test_a_file_that_is_read_has_a_descriptor(tree: Tree) -> None:
    _, size = tree.sources.read(tree.top / "a.sql", lambda file: len(_of_descriptor(file)))
    assert size == 9


def _of_descriptor(file: BinaryIO) -> bytes:
    return Path(f"/proc/self/fd/{file.fileno()}").read_bytes()


def test_large_files_and_empty_ones_are_read_to_their_end(tree: Tree) -> None:
    for content in (b"", b"0123456789abcdef" * 200_000):
        tree.write("data", content)
        seen, found = tree.sources.read(tree.top / "data", _whole)
        assert (seen.input.size, seen.input.digest, found) == (len(content), _sha(content), content)


def test_a_directory_is_no_file(tree: Tree) -> None:
    assert tree.sources.is_directory(tree.top / "sub")
    assert not tree.sources.is_directory(tree.top / "a.sql")
    assert not tree.sources.is_directory(tree.top / "none")
    with pytest.raises(InvalidArgumentError, match="not a regular file"):
        _look(tree, "sub")


def test_a_directory_is_listed_in_order_and_named_by_what_is_in_it(tree: Tree) -> None:
    listing = tree.sources.list(tree.top)
    assert listing is not None
    assert listing.names == ("a.sql", "sub")
    tree.write("a.sql", b"another content")
    same = tree.sources.list(tree.top)
    assert same is not None
    assert same.seen.input == listing.seen.input
    tree.write("0.sql", b"")
    more = tree.sources.list(tree.top)
    assert more is not None
    assert more.names == ("0.sql", "a.sql", "sub")
    assert more.seen.input.digest != listing.seen.input.digest
    assert tree.sources.list(tree.top / "a.sql") is None
    assert tree.sources.list(tree.top / "none") is None


def test_paths_to_one_file_have_one_real_path(tree: Tree) -> None:
    real = tree.sources.real(tree.top / "a.sql")
    assert tree.sources.real(tree.top / "sub/../a.sql") == real
    assert tree.sources.real(tree.top / "sub/b.sql") != real


def test_what_was_not_touched_is_not_reported(tree: Tree) -> None:
    listing = tree.sources.list(tree.top)
    assert listing is not None
    seen = [_look(tree, "a.sql"), _look(tree, "none"), listing.seen]
    assert tree.sources.first_touched(seen) is None
    _look(tree, "sub/b.sql")
    assert tree.sources.first_touched(seen) is None


def test_a_change_there_and_back_is_a_touch(tree: Tree) -> None:
    seen = [_look(tree, "sub/b.sql"), _look(tree, "a.sql")]
    tree.write("a.sql", b"select 2;")
    tree.write("a.sql", b"select 1;")
    assert tree.sources.first_touched(seen) == seen[1]


def _changed(tree: Tree) -> None:
    tree.write("a.sql", b"select 3;")


def _removed(tree: Tree) -> None:
    tree.remove("a.sql")


def _appeared(tree: Tree) -> None:
    tree.write("none.sql", b"")


CHANGES = [(_changed, "a.sql"), (_removed, "a.sql"), (_appeared, "none.sql")]


def _inputs(tree: Tree) -> list[Input]:
    return [_look(tree, name).input for name in ("sub/b.sql", "a.sql", "none.sql")]


@pytest.mark.parametrize(("change", "name"), CHANGES)
def test_another_content_is_reported_by_name(
    tree: Tree, change: Callable[[Tree], None], name: str
) -> None:
    async def scenario() -> None:
        inputs = _inputs(tree)
        assert all(seen is not None for seen in inputs)
        await tree.sources.check_unchanged(inputs)
        change(tree)
        with pytest.raises(InputChangedError, match=f"{tree.top}/{name}") as reported:
            await tree.sources.check_unchanged(inputs)
        assert reported.value.remedy
        with pytest.raises(InputChangedError, match=name):
            async with tree.sources.hold(inputs):
                pytest.fail("it was held all the same")

    asyncio.run(scenario())


def test_the_same_content_written_again_is_no_change(tree: Tree) -> None:
    async def scenario() -> None:
        inputs = _inputs(tree)
        tree.write("a.sql", b"select 1;")
        await tree.sources.check_unchanged(inputs)
        async with tree.sources.hold(inputs):
            pass

    asyncio.run(scenario())


def test_many_inputs_are_checked_and_held_like_few(tree: Tree) -> None:
    for number in range(40):
        tree.write(f"many/{number}", str(number).encode())
    inputs = [_look(tree, f"many/{number}").input for number in range(40)]

    async def scenario() -> None:
        async with tree.sources.hold(inputs) as held:
            for one in inputs:
                place = local_path(held.local_root, PurePosixPath(one.name))
                assert _sha(place.read_bytes()) == one.digest
        tree.write("many/39", b"another")
        with pytest.raises(InputChangedError, match="many/39"):
            await tree.sources.check_unchanged(inputs)

    asyncio.run(scenario())


def test_a_tool_finds_what_is_held_at_its_path_and_nothing_where_nothing_was(tree: Tree) -> None:
    async def scenario() -> None:
        inputs = _inputs(tree)
        async with tree.sources.hold(inputs) as held:
            root = local_path(held.local_root, tree.top)
            assert (root / "a.sql").read_bytes() == b"select 1;"
            assert (root / "sub" / "b.sql").read_bytes() == b"select 2;"
            assert not (root / "none.sql").exists()
            # What is held is a tree of sources, too.
            assert held.look(tree.top / "a.sql").input == inputs[1]
            await held.check_unchanged(inputs)

    asyncio.run(scenario())


def test_directories_are_there_even_where_nothing_in_them_is_held(tree: Tree) -> None:
    async def scenario() -> None:
        async with tree.sources.hold([]) as held:
            assert local_path(held.local_root, tree.top / "sub").is_dir()

    asyncio.run(scenario())


def _back_again(tree: Tree) -> None:
    tree.write("a.sql", b"select 3;")
    tree.write("a.sql", b"select 1;")


@pytest.mark.parametrize(
    ("change", "name"),
    [*CHANGES, (_back_again, "a.sql")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("failing", [False, True])
def test_a_touch_while_it_is_held_is_reported_whatever_else_went_wrong(
    tree: Tree, change: Callable[[Tree], None], name: str, failing: bool
) -> None:
    async def scenario() -> None:
        async with tree.sources.hold(_inputs(tree)):
            change(tree)
            if failing:
                raise StepFailedError("nonsense", remedy="none")

    with pytest.raises(InputChangedError, match=f"{tree.top}/{name}"):
        asyncio.run(scenario())


class Ways:
    """Three scripts that are reached in different ways: directly, through a link to a directory,
    and through a link to a file; and one that is not there."""

    def __init__(self, tmp_path: Path) -> None:
        self.top = tmp_path
        for name in ("ours/deep/a.sql", "theirs/deep/a.sql", "linked/b.sql", "others/b.sql", "c1"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"select '{name}';")
        self._link("to_linked", "linked")
        self._link("c.sql", "c1")
        names = ("ours/deep/a.sql", "to_linked/b.sql", "c.sql", "none/d.sql")
        self.inputs = [LocalTree().look(tmp_path / name).input for name in names]

    def _link(self, name: str, target: str) -> None:
        (self.top / "new").symlink_to(target)
        (self.top / "new").rename(self.top / name)

    def flip_a_linked_directory(self) -> None:
        self._link("to_linked", "others")
        self._link("to_linked", "linked")

    def flip_a_linked_file(self) -> None:
        self._link("c.sql", "none")
        self._link("c.sql", "c1")

    def move_a_directory_away(self) -> None:
        self._swap("ours/deep", "theirs/deep")
        self._swap("ours/deep", "theirs/deep")

    def move_its_directory_away(self) -> None:
        self._swap("ours", "theirs")
        self._swap("ours", "theirs")

    def move_what_a_link_leads_to(self) -> None:
        self._swap("linked", "others")
        self._swap("linked", "others")

    def make_what_was_missing(self) -> None:
        (self.top / "none").mkdir()
        (self.top / "none").rmdir()

    def do_something_beside(self) -> None:
        (self.top / "others").rename(self.top / "elsewhere")
        for name in ("ours/deep/b.sql", "ours/e.sql", "linked/f.sql", "g.sql"):
            (self.top / name).write_text("select 1;")
            (self.top / name).unlink()

    def _swap(self, name: str, other: str) -> None:
        (self.top / name).rename(self.top / "aside")
        (self.top / other).rename(self.top / name)
        (self.top / "aside").rename(self.top / other)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (Ways.flip_a_linked_directory, "to_linked/b.sql"),
        (Ways.flip_a_linked_file, "c.sql"),
        (Ways.move_a_directory_away, "ours/deep/a.sql"),
        (Ways.move_its_directory_away, "ours/deep/a.sql"),
        (Ways.move_what_a_link_leads_to, "to_linked/b.sql"),
        (Ways.make_what_was_missing, "none/d.sql"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value.__name__,
)
@pytest.mark.parametrize("root", [True, False], ids=["machine", "directory"])
def test_a_path_that_led_elsewhere_for_a_moment_is_reported(
    tmp_path: Path, change: Callable[[Ways], None], name: str, root: bool
) -> None:
    ways = Ways(tmp_path)
    tree = LocalTree() if root else LocalTree(tmp_path)
    top = tmp_path if root else Path("/")
    inputs = [
        replace(one, name=str(top / PurePosixPath(one.name).relative_to(tmp_path)))
        for one in ways.inputs
    ]

    async def scenario() -> None:
        async with tree.hold(inputs):
            change(ways)

    with pytest.raises(InputChangedError, match=f"{top / name}") as reported:
        asyncio.run(scenario())
    assert "only for a moment" in (reported.value.details or "")


def test_what_happens_beside_the_way_to_an_input_is_no_matter(tmp_path: Path) -> None:
    ways = Ways(tmp_path)

    async def scenario() -> None:
        async with LocalTree().hold(ways.inputs):
            ways.do_something_beside()

    asyncio.run(scenario())


def test_a_path_through_links_that_go_round_is_missing(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    missing = Input(name=f"{tmp_path}/round/a.sql", digest=None)

    async def scenario() -> None:
        with pytest.raises(InputChangedError, match=r"round/a\.sql"):
            async with LocalTree().hold([missing]):
                pytest.fail("nobody can say what is there")

    asyncio.run(scenario())


def test_what_went_wrong_without_a_touch_is_told_as_it_is(tree: Tree) -> None:
    async def scenario() -> None:
        with pytest.raises(StepFailedError, match="a table is there"):
            async with tree.sources.hold(_inputs(tree)):
                raise StepFailedError("a table is there already", remedy="none")

    asyncio.run(scenario())


def test_being_cancelled_is_no_matter_of_the_inputs(tree: Tree) -> None:
    async def scenario() -> None:
        held = asyncio.Event()

        async def work() -> None:
            async with tree.sources.hold(_inputs(tree)):
                held.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await held.wait()
        _changed(tree)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(scenario())


def test_a_memo_makes_something_of_each_content_once_by_any_name(tree: Tree) -> None:
    made: list[bytes] = []

    def make(file: BinaryIO) -> str:
        made.append(file.read())
        return made[-1].decode().upper()

    memo = Memo(make, 2)
    tree.write("c.sql", b"select 1;")
    for name in ("a.sql", "c.sql", "a.sql"):
        seen, text = memo.read(tree.sources, tree.top / name)
        assert (seen, text) == (_look(tree, name), "SELECT 1;")
    assert made == [b"select 1;"]
    tree.write("a.sql", b"select 4;")
    assert memo.read(tree.sources, tree.top / "a.sql")[1] == "SELECT 4;"
    assert memo.read(tree.sources, tree.top / "none") == (_look(tree, "none"), None)
    memo.read(tree.sources, tree.top / "sub/b.sql")
    memo.read(tree.sources, tree.top / "c.sql")
    # It kept two, and what it had not used for longest went.
    assert made == [b"select 1;", b"select 4;", b"select 2;", b"select 1;"]
