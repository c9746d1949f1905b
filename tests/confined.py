"""Runs a command where the kernel lets nobody make namespaces, mount or use Landlock.

As in many containers; the filter is inherited by all that the command starts. This file is a
program: ``python -c TEXT COMMAND …``, since not everybody may read it where it lies.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

# Of include/uapi/linux: prctl.h, seccomp.h, bpf_common.h.
_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000

# unshare, setns, mount, umount2: the tables of system calls differ.
_CALLS = {"x86_64": (272, 308, 165, 166), "aarch64": (97, 268, 40, 39)}
_LANDLOCK = (444, 445, 446)


def confine() -> None:
    """Have the kernel refuse those calls to this process from now on."""
    refused = dict.fromkeys(_CALLS[platform.machine()], errno.EPERM)
    refused |= dict.fromkeys(_LANDLOCK, errno.ENOSYS)
    steps = [(_LOAD, 0, 0, 0)]
    for call, error in refused.items():
        steps += [(_JUMP_IF_EQUAL, 0, 1, call), (_RETURN, 0, 0, _ERRNO | error)]
    steps.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVS, 1, 0), (_SET_SECCOMP, _FILTER, program)):
        if libc.prctl(*arguments, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    confine()
    os.execvp(sys.argv[1], sys.argv[1:])
