"""Attacks from within a server, as programs that an attacker got to run there."""

import json
import pwd
from typing import Any, Final

from tests.clusters import NativeRig

PYTHON: Final = "/usr/bin/python3"
"""One that is in every cell: the rules of a server let no attacker run it."""

ATTACKS: dict[str, str] = {
    "read a neighbour's data": """
open(there["data"] + "/PG_VERSION").read()
""",
    "change the modes of a neighbour's directory": """
os.chmod(there["data"], 0o777)
""",
    "write to a neighbour's data": """
open(there["data"] + "/planted", "w")
""",
    "connect to a neighbour's Unix socket": """
socket.socket(socket.AF_UNIX).connect(there["socket"])
""",
    "connect to an abstract Unix socket": """
socket.socket(socket.AF_UNIX).connect("\\0" + there["abstract"])
""",
    "connect to a neighbour by TCP": """
socket.create_connection(("127.0.0.1", there["port"]), 5)
""",
    "listen on a port of its own choice": """
socket.create_server(("127.0.0.1", 0))
""",
    "send a datagram": """
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", there["port"]))
""",
    "signal a neighbour": """
os.kill(there["pid"], 0)
""",
    "list the processes of others": """
open(f"/proc/{there['pid']}/cmdline").read()[0]
""",
    "see a neighbour's files through its process": """
os.listdir(f"/proc/{there['pid']}/root/")
""",
    "see a neighbour's environment": """
open(f"/proc/{there['pid']}/environ").read()[0]
""",
    "trace a neighbour": """
if libc.ptrace(0x4206, there["pid"], 0, 0) == -1:
    raise OSError("PTRACE_SEIZE")
""",
    "read a neighbour's shared memory": """
open(there["shm"]).read()
""",
    "attach a System V segment of others": """
if libc.shmget(there["key"], 0, 0) == -1:
    raise OSError("shmget")
""",
    "read what every user may read": """
open(there["readable"]).read()
""",
    "write where every user may write": """
open(there["writable"], "r+").write("x")
""",
    "make a process in a new user namespace": """
pid = libc.syscall(56 if os.uname().machine == "x86_64" else 220, 0x10000000 | 17, 0, 0, 0, 0)
if pid == 0:
    os._exit(0)
if pid < 0:
    raise OSError("clone")
""",
    "make a user namespace": """
if libc.unshare(0x10000000):
    raise OSError("unshare")
""",
    "use io_uring": """
if libc.syscall(425, 1, ctypes.create_string_buffer(256)) < 0:
    raise OSError("io_uring_setup")
""",
    "get a handle of a file": """
buffer = ctypes.create_string_buffer(bytes([128, 0, 0, 0]) + bytes(200))
number = 303 if os.uname().machine == "x86_64" else 264
if libc.syscall(number, -100, b"/usr", buffer, ctypes.byref(ctypes.c_int()), 0) < 0:
    raise OSError("name_to_handle_at")
""",
    "read its own keys' descriptions": """
number = 250 if os.uname().machine == "x86_64" else 219
if libc.syscall(number, 0, -3, 1) < 0:
    raise OSError("keyctl")
""",
    "talk to the kernel about the network": """
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
""",
    "run a program that it brought along": """
path = there["own"] + "/program"
with open(path, "wb") as file:
    file.write(open("/bin/true", "rb").read())
os.chmod(path, 0o755)
if os.spawnv(os.P_WAIT, path, [path]):
    raise OSError("exec")
""",
}
"""Python programs, which fail if the attack does. ``there`` says where the neighbour is."""

_PROGRAM = """
import ctypes, json, os, socket, sys
there = json.loads(sys.argv[1])
libc = ctypes.CDLL(None)
outcome = {}
for name, attack in json.loads(sys.argv[2]).items():
    try:
        exec(attack)
        outcome[name] = "succeeded"
    except OSError as error:
        outcome[name] = f"failed: {error}"
json.dump(outcome, sys.stdout)
"""


def argv(there: dict[str, Any], attacks: dict[str, str] = ATTACKS) -> tuple[str, ...]:
    """A program that makes all the attacks and writes what became of each."""
    return (PYTHON, "-I", "-c", _PROGRAM, json.dumps(there), json.dumps(attacks))


def outcome_in(text: str) -> dict[str, str]:
    """What became of each."""
    outcome: dict[str, str] = json.loads(text)
    return outcome


def identity(native: NativeRig) -> dict[str, Any]:
    """What has ``Popen`` run a program as servers are."""
    if native.native.server_user is None:
        return {}
    user = pwd.getpwnam(native.native.server_user)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
