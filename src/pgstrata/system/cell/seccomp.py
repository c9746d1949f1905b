"""Seccomp: kernel interfaces that no server and no tool needs, and attacks do."""

import errno
import struct
from functools import cache
from typing import Final, Literal, NamedTuple

from pgstrata.system.cell import kernel


class _Machine(NamedTuple):
    """An architecture's numbers: include/uapi/linux/audit.h, and its table of system calls."""

    audit: int
    clone: int
    unshare: int
    socket: int
    change_mode: int
    """The one that the C library's ``chmod`` makes."""
    mode: int
    """Which of its arguments is the mode."""
    refused: tuple[int, ...]
    connections: tuple[int, ...]
    """What it takes to pass on what comes by TCP, and to have memory."""


_SINCE_5_1: Final = (
    *(428, 429, 430, 431, 432, 433, 442, 467),  # open_tree, move_mount, fs…, mount_setattr, …attr
    *(438, 440, 447),  # pidfd_getfd, process_madvise, memfd_secret
    *(443, 448),  # quotactl_fd, process_mrelease
    *(457, 458),  # statmount, listmount
)
_IO_URING: Final = (425, 426, 427)
_CLONE3: Final = 435

_MACHINES: Final = {
    "x86_64": _Machine(
        audit=0xC000003E,
        clone=56,
        unshare=272,
        socket=41,
        change_mode=90,
        mode=1,
        refused=(
            *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
            *(165, 166, 155, 161),  # mount, umount2, pivot_root, chroot
            *(308, 303, 304),  # setns, name_to_handle_at, open_by_handle_at
            *(321, 298, 323),  # bpf, perf_event_open, userfaultfd
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(246, 320, 169),  # kexec_load, kexec_file_load, reboot
            *(175, 313, 176, 174, 177, 178),  # init_module, finit_…, delete_module and older ones
            *(167, 168, 163, 179),  # swapon, swapoff, acct, quotactl
            *(172, 173, 103, 153),  # iopl, ioperm, syslog, vhangup
            *(164, 227, 159, 305),  # settimeofday, clock_settime, adjtimex, clock_adjtime
            *(300, 301),  # fanotify_init, fanotify_mark
            *(154, 212, 180, 156, 139),  # modify_ldt, lookup_dcookie, nfsservctl, _sysctl, sysfs
            *(170, 171),  # sethostname, setdomainname
        ),
        connections=(
            *(41, 42, 288, 45, 44, 48),  # socket, connect, accept4, recvfrom, sendto, shutdown
            *(51, 54, 55),  # getsockname, setsockopt, getsockopt
            *(232, 281, 233),  # epoll_wait, epoll_pwait, epoll_ctl
            *(1, 3, 33, 292),  # write, close, dup2, dup3
            *(9, 10, 11, 12, 25, 28),  # mmap, mprotect, munmap, brk, mremap, madvise
            *(202, 14, 15, 219),  # futex, rt_sigprocmask, rt_sigreturn, restart_syscall
            228,  # clock_gettime
            *(60, 231),  # exit, exit_group
        ),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        clone=220,
        unshare=97,
        socket=198,
        change_mode=53,  # fchmodat
        mode=2,
        refused=(
            *(117, 270, 271, 272),
            *(40, 39, 41, 51),
            *(268, 264, 265),
            *(280, 241, 282),
            *(217, 218, 219),
            *(104, 294, 142),
            *(105, 273, 106),
            *(224, 225, 89, 60),
            *(116, 58),
            *(170, 112, 171, 266),
            *(262, 263),
            *(18, 42),
            *(161, 162),
        ),
        connections=(
            *(198, 203, 242, 207, 206, 210),
            *(204, 208, 209),
            *(22, 21),
            *(64, 57, 24),
            *(222, 226, 215, 214, 216, 233),
            *(98, 135, 139, 128),
            113,
            *(93, 94),
        ),
    ),
}

_ANY_NAMESPACE: Final = 0x7E020080
"""Every ``CLONE_NEW…``."""

_UNIX, _INET, _INET6 = 1, 2, 10
_STREAM, _DATAGRAM, _KIND_OF_SOCKET = 1, 2, 0xF

# include/uapi/linux/bpf_common.h and seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _ERROR, _KILL, _ASK = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FC00000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24
_OTHER_ABI = 0x40000000
"""Bit of the numbers of x86-64's second ABI, with pointers of 32 bits."""

_PRIVATE = 0o700

Directories = Literal["allowed", "refused", "asked"]


def is_known(machine: str = kernel.MACHINE) -> bool:
    """Whether there is a filter for an architecture."""
    return machine in _MACHINES


@cache
def program(
    *,
    datagrams: bool,
    sockets: bool = False,
    unix: bool = True,
    directories: Directories = "allowed",
    machine: str = kernel.MACHINE,
) -> bytes:
    """The filter, as BPF.

    ``datagrams``: whether sockets other than streams are allowed; ``sockets``: whether those of
    every family are, and ``unix`` whether Unix sockets are. ``directories``: whether a file may be
    given the mode of a private directory, as PostgreSQL does with one that is to be a tablespace;
    or who listens is asked.
    """
    numbers = _MACHINES[machine]
    # What is not there is not tried again in another way, as what is forbidden may be.
    missing = _ERROR | errno.ENOSYS
    denied = _ERROR | errno.EPERM
    lines = [
        _line(_LOAD, _ARCHITECTURE),
        _line(_EQUAL, numbers.audit, yes=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
        _line(_AT_LEAST, _OTHER_ABI, no=1),
        _line(_RETURN, _KILL),
    ]
    for number in (*_IO_URING, _CLONE3):
        lines += [_line(_EQUAL, number, no=1), _line(_RETURN, missing)]
    for number in (*_SINCE_5_1, *numbers.refused):
        lines += [_line(_EQUAL, number, no=1), _line(_RETURN, denied)]
    for number in (numbers.clone, numbers.unshare):
        lines += [
            _line(_EQUAL, number, no=4),
            _line(_LOAD, _FIRST_ARGUMENT),
            _line(_ANY_BIT, _ANY_NAMESPACE, no=1),
            _line(_RETURN, denied),
            _line(_RETURN, _ALLOW),
        ]
    local = [_line(_EQUAL, _UNIX, no=1), _line(_RETURN, _ALLOW)]
    internet = [_line(_EQUAL, _INET, yes=2), _line(_EQUAL, _INET6, yes=1)]
    kinds = [_line(_EQUAL, _STREAM, yes=1), _line(_EQUAL, _DATAGRAM, no=1)]
    if not datagrams:
        kinds = [_line(_EQUAL, _STREAM, no=1)]
    check = [
        _line(_LOAD, _FIRST_ARGUMENT),
        *(local if unix else ()),
        *internet,
        _line(_RETURN, denied),
        _line(_LOAD, _SECOND_ARGUMENT),
        _line(_AND, _KIND_OF_SOCKET),
        *kinds,
        _line(_RETURN, _ALLOW),
        _line(_RETURN, denied),
    ]
    if directories != "allowed":
        lines += [
            _line(_EQUAL, numbers.change_mode, no=4),
            _line(_LOAD, _FIRST_ARGUMENT + 8 * numbers.mode),
            _line(_EQUAL, _PRIVATE, no=1),
            _line(_RETURN, _ASK if directories == "asked" else denied),
            _line(_RETURN, _ALLOW),
        ]
    if not sockets:
        lines += [_line(_EQUAL, numbers.socket, no=len(check)), *check]
    lines += [_line(_RETURN, _ALLOW)]
    return b"".join(lines)


@cache
def only_connections(machine: str = kernel.MACHINE) -> bytes | None:
    """The filter of a process that passes on what comes by TCP, and does nothing else.

    None where there is none.
    """
    if not is_known(machine):
        return None
    numbers = _MACHINES[machine]
    lines = [
        _line(_LOAD, _ARCHITECTURE),
        _line(_EQUAL, numbers.audit, yes=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
    ]
    for number in numbers.connections:
        lines += [_line(_EQUAL, number, no=1), _line(_RETURN, _ALLOW)]
    lines += [_line(_RETURN, _ERROR | errno.EPERM)]
    return b"".join(lines)


def _line(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """An instruction: a jump skips that many others if its comparison holds, or does not."""
    return struct.pack("HBBI", code, yes, no, value)
