"""Directories at any path of a cell, kept below one of its own.

PostgreSQL puts a tablespace only into a directory that is there. The first that it does with that
is to change its mode, a call that is rare otherwise: so the kernel asks the spawner first
(``seccomp``), and that makes the directory. A path that does not lead anywhere becomes a link to
where everything of the kind is kept.
"""

import os

from pgstrata.system.cell import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pgstrata.system.cell.plan import Cell

_SYSTEM = (
    *("bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "nix", "gnu"),
    *("dev", "etc", "proc", "sys"),
)
"""Where programs look for more than their data."""

_DEPTH = 16
"""More directories within each other than anybody has above a tablespace."""

_PATH_BYTES = 1024
"""PostgreSQL's longest path, with its end."""

_PAGE = 4096


def answer(listener: int, pidfd: int, cell: "Cell") -> None:
    """Make the directory that a call in a cell is about, if it can be; let the call go on.

    Raises ``OSError`` if there is no call any more.
    """
    call = kernel.next_call(listener)
    path = _path_at(call)
    if path is not None and kernel.is_waiting(listener, call):
        helper = os.fork()
        if helper == 0:
            _make_in(pidfd, cell, path)
        os.waitpid(helper, 0)
    kernel.let_go_on(listener, call)


def lead(home: str) -> None:
    """Have paths lead to what is kept in ``home`` for them, unless they lead somewhere."""
    _lead("", home, _DEPTH)


def _lead(above: str, kept: str, depth: int) -> None:
    # Whatever the program has put there: names only, and no link is followed.
    if not depth or os.path.islink(kept) or not os.path.isdir(kept):  # noqa: PTH112, PTH114
        return
    for name in os.listdir(kept):  # noqa: PTH208 - strings all along
        path, target = f"{above}/{name}", f"{kept}/{name}"
        if not above and name in _SYSTEM:
            continue
        if os.path.lexists(path):
            if not os.path.islink(path):  # noqa: PTH114
                _lead(path, target, depth - 1)
        elif not os.path.islink(target):  # noqa: PTH114
            _link(target, path)


def _make_in(pidfd: int, cell: "Cell", path: str) -> None:
    """Make a directory as a program in a cell sees it, and end."""
    try:
        if cell.ids is not None:
            os.setgroups([])
        kernel.enter(pidfd, cell.namespaces & (kernel.NEW_USERS | kernel.NEW_MOUNTS))
        assert cell.kept is not None
        _make(path, cell.kept, cell.ids)
    finally:
        os._exit(0)


def _make(path: str, home: str, ids: tuple[int, int] | None) -> None:
    parts = path.split("/")[1:]
    if os.path.lexists(path) or ".." in parts or parts[0] in _SYSTEM or len(parts) > _DEPTH:
        return
    own = os.path.dirname(home)  # noqa: PTH120
    inside = path.startswith(f"{own}/")
    # In what the program can write to, with no more rights than it has.
    os.umask(0o077)
    if ids is not None:
        os.setegid(ids[1])
        os.seteuid(ids[0])
    os.makedirs(path if inside else f"{home}{path}", exist_ok=True)  # noqa: PTH103
    if ids is not None:
        os.seteuid(0)
    if not inside:
        _lead_to(parts, home)


def _lead_to(parts: list[str], home: str) -> None:
    for number in range(1, len(parts) + 1):
        path = "".join(f"/{part}" for part in parts[:number])
        if not os.path.lexists(path):
            _link(f"{home}{path}", path)
            return


def _link(target: str, path: str) -> None:
    # Only in the root that was made for the cell: all else in it is somebody's.
    above = os.stat(os.path.dirname(path))  # noqa: PTH116, PTH120
    if above.st_dev == os.stat("/").st_dev:  # noqa: PTH116
        os.symlink(target, path)  # noqa: PTH211


def _path_at(call: "kernel.Call") -> str | None:
    """The absolute path that a call is about, without what means nothing; None if it has none."""
    try:
        memory = os.open(f"/proc/{call.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = b""
        while b"\0" not in text and len(text) < _PATH_BYTES:
            at = call.path + len(text)
            text += os.pread(memory, _PAGE - at % _PAGE, at)
    except (OSError, OverflowError):
        return None
    finally:
        os.close(memory)
    path, end, _ = text.partition(b"\0")
    if not end or not path.startswith(b"/") or len(path) >= _PATH_BYTES:
        return None
    parts = [part for part in path.split(b"/") if part not in (b"", b".")]
    return os.fsdecode(b"/" + b"/".join(parts))
