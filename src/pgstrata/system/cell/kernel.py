"""Calls of the Linux kernel that Python has no function for. Each raises ``OSError``.

What runs between the engine and a program (this module, ``landlock``, ``inside`` and ``spawner``)
imports next to nothing: a fork takes as long as there is memory to share, and each module that is
built on ``typing``, ``enum`` or ``re`` is a megabyte of it.
"""

import ctypes
import os
import struct

# A call must not give other threads a turn: right after ``clone`` there are none.
_LIBC = ctypes.PyDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

MACHINE = os.uname().machine

_CLONE, _PIVOT_ROOT, _SECCOMP = {
    "x86_64": (56, 155, 317),
    "aarch64": (220, 41, 277),
}.get(MACHINE, (-1, -1, -1))
# The same on every architecture: include/uapi/asm-generic/unistd.h.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_MOUNT_SETATTR = 442
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446

NEW_MOUNTS, NEW_IPC, NEW_USERS, NEW_PIDS, NEW_NETWORK = (
    0x00020000,
    0x08000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
"""The ``CLONE_NEW…`` of include/uapi/linux/sched.h."""

_CLONE_PIDFD = 0x1000
_CHILD_ENDED = 17  # SIGCHLD

_AT_RECURSIVE, _AT_EMPTY_PATH, _AT_NO_LINK, _AT_FDCWD = 0x8000, 0x1000, 0x100, -100
_OPEN_TREE_CLONE, _CLOEXEC = 1, os.O_CLOEXEC
_MOVE_FROM_DESCRIPTOR = 4  # MOVE_MOUNT_F_EMPTY_PATH
_SET_STRING, _CREATE = 1, 6  # FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE
_DETACH = 2  # MNT_DETACH

READ_ONLY, NO_SETUID, NO_DEVICES, NO_PROGRAMS = 1, 2, 4, 8
"""``MOUNT_ATTR_…`` of include/uapi/linux/mount.h."""

_PRIVATE = 1 << 18  # MS_PRIVATE
_RECURSIVE = 16384  # MS_REC

_SET_NO_NEW_PRIVILEGES = 38  # PR_SET_NO_NEW_PRIVS
_SET_DUMPABLE = 4  # PR_SET_DUMPABLE
_CAPABILITIES_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
_HAS_CAPABILITY, _DROP_CAPABILITY = 23, 24  # PR_CAPBSET_READ, PR_CAPBSET_DROP
OVERRIDE_MODES, READ_ANYTHING = 1, 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

# include/uapi/linux/seccomp.h
_NEW_LISTENER, _CONTINUE = 1 << 3, 1
_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
_CALL_BYTES = 80

_LOOPBACK_UP = 0x8914, struct.pack("16sH14s", b"lo", 0x1 | 0x40, b"")  # SIOCSIFFLAGS, UP | RUNNING


def call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """A system call, with numbers as the kernel's ``long``."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = _LIBC.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def clone(namespaces: int) -> tuple[int, int]:
    """Fork into new namespaces: the child's pid and a pidfd of it; zeros in the child.

    Only for a process with one thread.
    """
    pidfd = ctypes.c_int(0)
    # The order of the last two arguments differs between architectures; both are unused.
    pid: int = _LIBC.syscall(
        ctypes.c_long(_CLONE),
        ctypes.c_long(namespaces | _CLONE_PIDFD | _CHILD_ENDED),
        None,
        ctypes.byref(pidfd),
        None,
        None,
    )
    if pid < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pid, 0 if pid == 0 else pidfd.value


def copy_of_tree(path: str) -> int:
    """A detached copy of the mounts at and below a path, which is no symbolic link."""
    flags = _OPEN_TREE_CLONE | _CLOEXEC | _AT_RECURSIVE | _AT_NO_LINK
    return call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def new_file_system(kind: str, attributes: int, **options: str) -> int:
    """A detached file system, such as a tmpfs."""
    context = call(_FSOPEN, kind.encode(), 1)
    try:
        for name, value in options.items():
            call(_FSCONFIG, context, _SET_STRING, name.encode(), value.encode(), 0)
        call(_FSCONFIG, context, _CREATE, None, None, 0)
        return call(_FSMOUNT, context, 1, attributes)
    finally:
        os.close(context)


def restrict_mounts(tree: int, attributes: int) -> None:
    """Add attributes to every mount of a tree, and keep it from all other trees."""
    wanted = struct.pack("QQQQ", attributes, 0, _PRIVATE, 0)
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    call(_MOUNT_SETATTR, tree, b"", flags, wanted, len(wanted))


def attach(tree: int, target: str) -> None:
    """Mount a detached tree on a path."""
    call(_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_FROM_DESCRIPTOR)


def make_mounts_private() -> None:
    """Keep what is mounted from now on from all other namespaces."""
    _check(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_PRIVATE | _RECURSIVE), None))


def pivot_here() -> None:
    """Make the working directory, a mount, the root, and drop the old one."""
    call(_PIVOT_ROOT, b".", b".")
    # The old root was put on top of the new one.
    _check(_LIBC.umount2(b".", _DETACH))
    os.chdir("/")


def no_new_privileges() -> None:
    """Let neither this process nor its children gain anything by a program they run."""
    _check(_LIBC.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def drop_capabilities(*, keep: tuple[int, ...]) -> None:
    """Let no program that is run from now on have other capabilities than these."""
    number = 0
    while _LIBC.prctl(_HAS_CAPABILITY, number, 0, 0, 0) >= 0:
        if number not in keep:
            _check(_LIBC.prctl(_DROP_CAPABILITY, number, 0, 0, 0))
        number += 1


def give_up_capabilities() -> None:
    """Have none any more, now and for good."""
    header = struct.pack("Ii", _CAPABILITIES_3, 0)
    _check(_LIBC.capset(header, bytes(24)))


def forbid_looking_in() -> None:
    """Keep processes of the same user from this one's memory and descriptors."""
    _check(_LIBC.prctl(_SET_DUMPABLE, 0, 0, 0, 0))


def obey_signals(numbers: tuple[int, ...]) -> None:
    """Have signals do what they do to other programs: Python ignores some."""
    for number in numbers:
        _LIBC.signal(number, None)


def hold_signals(numbers: tuple[int, ...]) -> ctypes.Array[ctypes.c_char]:
    """Hold signals back for ``next_signal``, even those that would do nothing."""
    held = ctypes.create_string_buffer(128)
    _LIBC.sigemptyset(held)
    for number in numbers:
        _LIBC.sigaddset(held, number)
    _check(_LIBC.sigprocmask(0, held, None))  # SIG_BLOCK
    return held


def next_signal(held: ctypes.Array[ctypes.c_char]) -> int:
    """Wait for a signal that is held back."""
    number = ctypes.c_int(0)
    _LIBC.sigwait(held, ctypes.byref(number))
    return number.value


def filter_calls(program: bytes, *, listen: bool = False) -> int:
    """Have all further system calls decided by a BPF program of 8 bytes an instruction.

    ``listen``: return a descriptor for those that it wants somebody asked about (``next_call``).
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    return call(_SECCOMP, 1, _NEW_LISTENER if listen else 0, header)  # SECCOMP_SET_MODE_FILTER


class Call:
    """A system call that waits for an answer: one that changes a file's mode."""

    def __init__(self, told: bytes) -> None:
        self.id, self.pid = struct.unpack_from("=QI", told)
        first, second = struct.unpack_from("=QQ", told, 32)
        self.path: int = first if MACHINE == "x86_64" else second
        """Where it is in the caller's memory."""


def next_call(listener: int) -> Call:
    """The next call that waits."""
    import fcntl

    return Call(fcntl.ioctl(listener, _RECEIVE, bytes(_CALL_BYTES)))


def is_waiting(listener: int, waiting: Call) -> bool:
    """Whether a call is still waiting: its process's pid is its own as long as it does."""
    import fcntl

    try:
        fcntl.ioctl(listener, _IS_VALID, struct.pack("=Q", waiting.id))
    except OSError:
        return False
    return True


def let_go_on(listener: int, waiting: Call) -> None:
    """Have a call carried out as if nobody had been asked."""
    import fcntl

    fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", waiting.id, 0, 0, _CONTINUE))


def enter(pidfd: int, namespaces: int) -> None:
    """Enter namespaces of another process; of mounts, with the root that they have."""
    _check(_LIBC.setns(pidfd, namespaces))


def landlock_version() -> int:
    """Which version of Landlock's interface the kernel has; 0 for none."""
    try:
        return call(_LANDLOCK_CREATE, None, 0, 1)
    except OSError:
        return 0


def landlock_create(attributes: bytes) -> int:
    """A new set of rules."""
    return call(_LANDLOCK_CREATE, attributes, len(attributes), 0)


def landlock_add(rules: int, kind: int, rule: bytes) -> None:
    """Add a rule to a set."""
    call(_LANDLOCK_ADD, rules, kind, rule, 0)


def landlock_restrict(rules: int) -> None:
    """Be bound by a set of rules from now on."""
    call(_LANDLOCK_RESTRICT, rules, 0)


def raise_loopback() -> None:
    """Have a loopback interface in a new network namespace."""
    import fcntl
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
        fcntl.ioctl(probe, *_LOOPBACK_UP)


def map_ids(pid: int) -> None:
    """Give a process in a new user namespace the ids that we may give it, as they are.

    Root may give all that it has itself, everybody else only their own.
    """
    if os.geteuid() != 0:
        write(f"/proc/{pid}/setgroups", b"deny")
        write(f"/proc/{pid}/uid_map", b"%d %d 1" % (os.geteuid(), os.geteuid()))
        write(f"/proc/{pid}/gid_map", b"%d %d 1" % (os.getegid(), os.getegid()))
        return
    for name in ("uid_map", "gid_map"):
        ranges = [line.split() for line in read(f"/proc/self/{name}").splitlines()]
        lines = [b"%s %s %s" % (first, first, count) for first, _, count in ranges]
        write(f"/proc/{pid}/{name}", b"\n".join(lines))


def is_directory(descriptor: int) -> bool:
    """Whether a descriptor is one of a directory."""
    return os.fstat(descriptor).st_mode & 0o170000 == 0o040000


def read(path: str) -> bytes:
    """A whole file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while piece := os.read(descriptor, 1 << 20):
            content += piece
        return content
    finally:
        os.close(descriptor)


def write(path: str, content: bytes) -> None:
    """Write a small file in one call; make it if need be."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


def _check(result: int) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
