"""Turns a new process into a cell's program: from here on nothing leads back.

Runs between ``clone`` and ``exec``, in namespaces of its own where there are any.
"""

import _socket
import os
import resource

from pgstrata.system.cell import kernel, landlock, letting_in, placing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pgstrata.system.cell.plan import Cell

_SAFE = kernel.NO_SETUID | kernel.NO_DEVICES
_READ_ONLY = _SAFE | kernel.READ_ONLY
_DATA_ONLY = _SAFE | kernel.NO_PROGRAMS

_DEVICES = ("null", "zero", "urandom")

_LINKS = {
    "dev/random": "urandom",
    "dev/fd": "/proc/self/fd",
    "dev/stdin": "/proc/self/fd/0",
    "dev/stdout": "/proc/self/fd/1",
    "dev/stderr": "/proc/self/fd/2",
}

PREPARED = ("namespaces", "shown", "texts", "temporary", "processes")
"""The fields of a cell with a root of its own that decide how it is made ready."""

_DESCRIPTORS = 1 << 20

_OOM_SCORE, _MOST_OOM_SCORE = "/proc/self/oom_score_adj", 1000
_HEAD_START = 100
"""How much more memory than the engine a program in a cell seems to have to the kernel when that
looks for what to end, in thousandths of the machine's."""

_TERMINATE, _CHILD_ENDED = 15, 17

_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE, SIGXFSZ


def has_own_root(cell: "Cell") -> bool:
    """Whether a cell does not have the system's root."""
    return bool(cell.namespaces & kernel.NEW_MOUNTS) and cell.hidden is None


def own_trees(cell: "Cell") -> list[int]:
    """Descriptors of what only this cell is to see, as it is where we are now (``become``).

    Raises ``OSError``.
    """
    trees: list[int] = []
    if not has_own_root(cell):
        return trees
    try:
        for parts, attributes in ((cell.told, _READ_ONLY), (cell.own, _DATA_ONLY)):
            trees.extend(_copy(source, attributes) for source, _ in parts)
    except BaseException:
        for tree in trees:
            os.close(tree)
        raise
    return trees


def prepare(cell: "Cell") -> None:
    """Make all of a cell that does not depend on what is its own, such as ``cell.own``.

    Of one with a root of its own, only ``PREPARED`` is looked at. Raises ``OSError``, whose file
    name says what failed.
    """
    os.setsid()
    os.umask(0o022)
    # When memory is used up, it is to be ended rather than the engine.
    try:
        ours = int(kernel.read(_OOM_SCORE))
        kernel.write(_OOM_SCORE, b"%d" % min(ours + _HEAD_START, _MOST_OOM_SCORE))
    except OSError:
        pass
    if cell.namespaces & kernel.NEW_NETWORK:
        with _doing("raise the loopback interface"):
            kernel.raise_loopback()
    if cell.namespaces & kernel.NEW_MOUNTS:
        with _doing("keep mounts private"):
            kernel.make_mounts_private()
        if cell.hidden is None:
            _enter_new_root(cell)
        else:
            _hide(cell, cell.hidden)


def become(
    cell: "Cell",
    standard: list[int],
    trees: list[int],
    listener: _socket.socket | None,
    door: _socket.socket | None,
) -> None:
    """Become the program of a cell, with ``standard`` as its standard input, output and error.

    ``trees`` are its own (``own_trees``); ``listener``: who gets the descriptor with which to
    answer calls, if somebody does; ``door``: where clients come in, if they do.

    Returns only by ``OSError``, whose file name says what failed.
    """
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    for tree, (_, target) in zip(trees, (*cell.told, *cell.own), strict=False):
        _attach(tree, _made(target), target)
    if has_own_root(cell):
        if not cell.processes:
            # The dynamic linker finds a program's own libraries by this.
            os.symlink(cell.argv[0], _made("proc/self/exe"))  # noqa: PTH211
        if cell.kept is not None:
            placing.lead(cell.kept)
    kernel.no_new_privileges()
    if cell.capabilities is not None:
        with _doing("drop capabilities"):
            kernel.drop_capabilities(keep=cell.capabilities)
    rules = None if cell.files is None else _rules(cell)
    if cell.ids is not None:
        with _doing("change to the servers' user"):
            os.setgroups([])
            os.setresgid(cell.ids[1], cell.ids[1], cell.ids[1])
            os.setresuid(cell.ids[0], cell.ids[0], cell.ids[0])
    with _doing(f"enter {cell.cwd}"):
        os.chdir(cell.cwd)
    if door is not None:
        with _doing("let clients in"):
            letting_in.begin(door, cell.let_in_filter)
    if rules is not None:
        with _doing("obey Landlock's rules"):
            rules.obey()
    if cell.filter is not None:
        with _doing("filter system calls"):
            calls = kernel.filter_calls(cell.filter, listen=listener is not None)
            if listener is not None:
                rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, calls.to_bytes(4, "little"))
                listener.sendmsg([b"listen"], [rights])
    if cell.most_processes is not None:
        _, most = resource.getrlimit(resource.RLIMIT_NPROC)
        number = cell.most_processes if most < 0 else min(cell.most_processes, most)
        resource.setrlimit(resource.RLIMIT_NPROC, (number, number))
    kernel.obey_signals(_IGNORED_BY_PYTHON)
    if cell.init and os.getpid() == 1:
        _stay_as_parent()
    with _doing(f"start {cell.argv[0]}"):
        os.execve(cell.argv[0], cell.argv, cell.env)  # noqa: S606 - no shell is wanted


class _doing:  # noqa: N801 - reads as a verb
    """Names what was being done in an ``OSError``."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            error.filename = self._what


def _enter_new_root(cell: "Cell") -> None:
    """Make a root of our own, with nothing but what every cell like it is to see."""
    trees = _shown(cell)
    devices = [(_tree(f"/dev/{name}", kernel.NO_SETUID), f"/dev/{name}") for name in _DEVICES]
    with _doing("make a root"):
        size = {} if cell.temporary is None else {"size": str(cell.temporary)}
        root = kernel.new_file_system("tmpfs", _DATA_ONLY, mode="0755", **size)
        kernel.attach(root, "/")
        os.fchdir(root)
    for name, mode in (("tmp", 0o1777), ("dev", 0o755), ("dev/shm", 0o1777), ("proc", 0o555)):
        os.mkdir(name)  # noqa: PTH102 - relative to the directory that is to be the root
        os.chmod(name, mode)  # noqa: PTH101
    for name, target in _LINKS.items():
        os.symlink(target, name)  # noqa: PTH211
    for tree, target in (*trees, *devices):
        if isinstance(tree, str):
            os.symlink(tree, _made(target))  # noqa: PTH211
        else:
            _attach(tree, _made(target), target)
    for path, text in cell.texts:
        kernel.write(_made(path), text.encode())
    if cell.processes and cell.namespaces & kernel.NEW_PIDS:
        # A system may withhold it, as containers do; a server can do without.
        try:  # noqa: SIM105 - contextlib would be memory
            _attach(kernel.new_file_system("proc", _DATA_ONLY, subset="pid"), "proc", "/proc")
        except OSError:
            pass
    with _doing("change the root"):
        kernel.pivot_here()


def _hide(cell: "Cell", hidden: tuple[str, ...]) -> None:
    """Hide parts of the system from the cell. What lies deeper comes later, and can be seen."""
    present = [path for path in hidden if os.path.isdir(path)]  # noqa: PTH112 - strings all along
    parts: list[tuple[int | str | None, str]] = [(None, path) for path in present]
    parts += _shown(cell)
    parts += [(_copy(source, _DATA_ONLY), target) for source, target in cell.own]
    if cell.read_only:
        with _doing("make everything read-only"):
            root = os.open("/", os.O_PATH | os.O_CLOEXEC)
            kernel.restrict_mounts(root, kernel.READ_ONLY)
            os.close(root)
    for tree, path in sorted(parts, key=lambda part: part[1].count("/")):
        if tree is None:
            with _doing(f"hide {path}"):
                os.makedirs(path, exist_ok=True)  # noqa: PTH103
                kernel.attach(kernel.new_file_system("tmpfs", _DATA_ONLY, mode="0711"), path)
        elif not isinstance(tree, str):
            _attach(tree, path, path)
        elif not os.path.lexists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            os.symlink(tree, path)  # noqa: PTH211
    if cell.namespaces & kernel.NEW_PIDS:
        try:
            # Root may write to the settings of the whole machine there, whatever its capabilities.
            attributes = _DATA_ONLY | (kernel.READ_ONLY if cell.read_only else 0)
            _attach(kernel.new_file_system("proc", attributes), "/proc", "/proc")
        except OSError:
            pass


def _shown(cell: "Cell") -> list[tuple[int | str, str]]:
    """Copies of what the cell is to see: whatever is mounted later may hide it."""
    return [
        (_tree(source, _READ_ONLY), target)
        for source, target in cell.shown
        if os.path.lexists(source)
    ]


def _tree(source: str, attributes: int) -> int | str:
    """A copy of a tree of mounts; of a symbolic link, where it leads."""
    if os.path.islink(source):  # noqa: PTH114 - strings all along
        return os.readlink(source)  # noqa: PTH115
    return _copy(source, attributes)


def _copy(source: str, attributes: int) -> int:
    with _doing(f"show {source}"):
        tree = kernel.copy_of_tree(source)
        kernel.restrict_mounts(tree, attributes)
    return tree


def _attach(tree: int, name: str, target: str) -> None:
    with _doing(f"show {target}"):
        if kernel.is_directory(tree):
            os.makedirs(name, exist_ok=True)  # noqa: PTH103
        elif not os.path.lexists(name):
            os.makedirs(os.path.dirname(name), exist_ok=True)  # noqa: PTH103, PTH120
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
        kernel.attach(tree, name)
        os.close(tree)


def _made(path: str) -> str:
    """A path relative to the new root, whose parents exist."""
    name = path.lstrip("/")
    os.makedirs(os.path.dirname(name) or ".", exist_ok=True)  # noqa: PTH103, PTH120
    return name


def _rules(cell: "Cell") -> landlock.Rules:
    assert cell.files is not None
    with _doing("make Landlock's rules"):
        rules = landlock.Rules(tcp=cell.files.tcp)
        rules.read(cell.files.read)
        rules.write(cell.files.write)
        rules.execute(cell.files.execute)
        rules.ports(connect=cell.files.connect, listen=cell.files.listen)
    return rules


def _stay_as_parent() -> None:
    """Fork, and return in the child only; the parent ends with the child, and the cell with it.

    Only for the first process of a PID namespace: it signals all others that it can.
    """
    child = os.fork()
    if child == 0:
        return
    held = kernel.hold_signals((_TERMINATE, _CHILD_ENDED))
    # Whoever waits for the end of a pipe, or of the engine, waits for the program only.
    os.closerange(0, _DESCRIPTORS)
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            os._exit(_exit_code(status))
        if pid == 0 and kernel.next_signal(held) == _TERMINATE:
            os.kill(-1, _TERMINATE)


def _exit_code(status: int) -> int:
    """As a shell reports it."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
