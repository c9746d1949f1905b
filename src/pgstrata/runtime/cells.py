"""What servers are kept in: which cell each gets, where the system can make one."""

import os
import pwd
import struct
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from pgstrata.dbms.tablespaces import DATA_DIR, HOME, TABLESPACES
from pgstrata.errors import InvalidArgumentError
from pgstrata.runtime.base import View
from pgstrata.runtime.layout import Layout
from pgstrata.runtime.limits import Allowed
from pgstrata.settings import SandboxSettings
from pgstrata.system.cell import kernel, levels, plan, seccomp
from pgstrata.system.cell.levels import SYSTEM, Means
from pgstrata.system.cell.spawning import Spawner

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what the C library calls it

_NETWORKING = ("/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf", "/etc/ssl")
"""What a program needs to find hosts, and to know whether they are the ones it wants."""

_TEMPORARY = ("/tmp", "/var/tmp", _SHARED_MEMORY)  # noqa: S108 - what the system calls them
"""Where everybody may leave files."""

_OLDEST_WITHOUT_DATAGRAMS = 15
"""Before, statistics were sent from one process of a server to another by UDP."""


class Places(NamedTuple):
    """A server's directories."""

    data_dir: Path
    sockets: Path
    rules: Path
    """Of the files that say who may connect, and of its settings."""


_IN_CELLS = Places(Path(DATA_DIR), Path(HOME, "sockets"), Path(HOME, "rules"))
"""The same for every server, since its sessions can ask for them."""


class Cells:
    """Decides what every server's cell is like."""

    def __init__(
        self,
        spawner: Spawner,
        settings: SandboxSettings,
        *,
        server_user: str,
        engine_user: str,
        limits: Allowed | None = None,
    ) -> None:
        self._spawner = spawner
        self._settings = settings
        self._limits = limits or Allowed()
        self._user = pwd.getpwnam(server_user)
        self._users = dict.fromkeys((engine_user, server_user))

    @cached_property
    def means(self) -> Means:
        """What is used of what the system has. The first look starts some processes.

        Raises ``InvalidArgumentError`` if the settings ask for more than it has.
        """
        wanted = self._settings.level
        if wanted == "off":
            return Means()
        if wanted == "strict" and self._settings.network:
            raise InvalidArgumentError(
                "sandbox.level strict keeps servers from every network, and sandbox.network lets "
                "them use it",
                remedy="set sandbox.level to basic, or sandbox.network to false",
            )
        found = levels.probe(self._spawner, self._ids)
        lacks = not found.is_whole or (wanted == "strict" and not found.network)
        if wanted in ("basic", "strict") and lacks:
            raise InvalidArgumentError(
                f"this system has no cells of level {wanted}: {'; '.join(found.missing)}",
                remedy="set sandbox.level to auto",
            )
        if wanted == "strict":
            return found._replace(apart=True)
        if wanted == "partial" and found.landlock:
            return found._replace(namespaces=0, network=False, asks=False)
        return found

    @property
    def have_mounts(self) -> bool:
        """Whether no server sees another's files."""
        return bool(self.means.namespaces)

    @property
    def have_tablespaces(self) -> bool:
        """Whether servers can have tablespaces, at any path."""
        return self.means.asks

    def seen(self, places: Places) -> Places:
        """A server's directories by the paths that it knows itself."""
        return _IN_CELLS if self.have_mounts else places

    def seen_data_dir(self, data_dir: Path) -> Path:
        """The same of the data directory alone."""
        return _IN_CELLS.data_dir if self.have_mounts else data_dir

    def server(
        self,
        argv: Iterable[str],
        env: dict[str, str],
        *,
        layout: Layout,
        major: int,
        places: Places,
        port: int,
        building: bool = False,
    ) -> plan.Cell | None:
        """A server's cell; None if this system has none."""
        means = self.means
        if means.level == "off":
            return None
        argv = tuple(argv)
        others = tuple(str(path) for path in (*_outside_system(layout), *self._settings.read_paths))
        alone = means.apart or (building and means.network and not self._settings.network)
        empty = alone and building
        door = port if means.apart and not building else None
        inside = self.seen(places)
        shown = (*SYSTEM, *others, *(_NETWORKING * self._settings.network))
        own = (str(inside.data_dir), str(inside.sockets))
        namespaces = means.namespaces | (kernel.NEW_NETWORK if alone else 0)
        return plan.Cell(
            argv=argv,
            env=env,
            cwd=str(inside.data_dir),
            ids=self._ids,
            namespaces=namespaces,
            shown=_as_they_are(shown),
            told=((str(places.rules), str(inside.rules)),),
            own=((str(places.data_dir), own[0]), (str(places.sockets), own[1])),
            kept=f"{inside.data_dir}/{TABLESPACES}" if means.asks else None,
            processes=not building,
            texts=self._texts,
            files=plan.Files(
                read=("/",)
                if namespaces
                else (*shown, str(places.rules), *own, "/etc", "/proc", "/dev"),
                write=(*own, _SHARED_MEMORY, "/dev/null", *(("/tmp",) if namespaces else ())),  # noqa: S108
                execute=(argv[0], *_interpreter(argv[0])),
                tcp=not empty and not self._settings.network,
                connect=(port,),
                listen=(port,),
            )
            if means.landlock
            else None,
            filter=seccomp.program(
                datagrams=empty or self._settings.network or major < _OLDEST_WITHOUT_DATAGRAMS,
                directories="asked" if means.asks else "refused",
            )
            if means.filter
            else None,
            let_in=door,
            let_in_filter=seccomp.only_connections() if door else None,
            most_processes=self._most_processes,
            temporary=self._limits.memory or None,
            one_of_many=bool(namespaces & kernel.NEW_MOUNTS),
        )

    def tool(
        self,
        argv: Iterable[str],
        env: dict[str, str],
        *,
        work_dir: Path,
        hidden: Iterable[Path],
        sockets: Path | None,
        trusted: bool,
        network: bool,
        connect: tuple[int, ...] = (),
        view: View | None = None,
        layout: Layout | None = None,
        reads: Iterable[Path] | None = None,
        inputs: Iterable[Path] = (),
    ) -> plan.Cell | None:
        """A tool's cell, without the ``hidden`` directories; None if there is none.

        One that is ``trusted`` can write to whatever its user can, one with ``network`` connect to
        it, and others ``connect`` to these ports of TCP. With a ``view``, it sees the ``layout``.
        ``reads``: what it can read beside the system's files and its own, unless it is trusted;
        None for everything. ``inputs``: what it sees even in ``/dev/shm``, which is hidden as well.
        Without ``sockets`` it can use no Unix sockets.
        """
        means = self.means
        if not means.namespaces:
            return None
        open_network, reads = network or self._settings.network, None if trusted else reads
        argv, hides = tuple(argv), tuple(str(path) for path in hidden)
        inputs = [path for path in inputs if not _is_below(path, hides)]
        seen = [Path(argv[0]).parent.parent, work_dir, *inputs]
        if not trusted:
            hides += (_SHARED_MEMORY,)
        if view is not None:
            hides += (*_TEMPORARY, *(str(path) for path in view.hidden if not _has_system(path)))
            seen = [*view.shown, *(_outside_system(layout) if layout else ())]
        below = {path: path for path in seen if _is_below(path, hides)}
        if view is not None:
            below |= {path: source for path in view.shown if (source := view.at(path)) != path}
        return plan.Cell(
            argv=argv,
            env=env,
            cwd=str(work_dir),
            namespaces=means.namespaces,
            shown=tuple((str(source), str(path)) for path, source in below.items()),
            # There are none of a server that is gone.
            own=_as_they_are((str(sockets),) if sockets and sockets.is_dir() else ()),
            hidden=tuple(dict.fromkeys(hides)),
            read_only=not trusted,
            capabilities=None
            if trusted or os.geteuid()
            else (kernel.OVERRIDE_MODES if sockets else kernel.READ_ANYTHING,),
            files=None
            if open_network and reads is None
            else _files_of_tool(
                means,
                argv[0],
                reads,
                tcp=not open_network,
                connect=connect,
                # 0 stands for a port that the kernel chooses.
                listen=() if sockets else (0,),
            ),
            filter=seccomp.program(datagrams=False, sockets=network, unix=sockets is not None)
            if means.filter
            else None,
            most_processes=self._most_processes,
            init=True,
        )

    @property
    def _most_processes(self) -> int | None:
        """Without a user namespace, the kernel counts those of all servers together."""
        counted = self.means.namespaces & kernel.NEW_USERS
        return self._limits.processes or None if counted else None

    @property
    def _ids(self) -> tuple[int, int] | None:
        return (self._user.pw_uid, self._user.pw_gid) if os.geteuid() == 0 else None

    @cached_property
    def _texts(self) -> tuple[tuple[str, str], ...]:
        entries = [pwd.getpwnam(user) for user in self._users]
        lines = [f"{one.pw_name}:x:{one.pw_uid}:{one.pw_gid}::/:/bin/false" for one in entries]
        users = ("/etc/passwd", "\n".join((*lines, "")))
        if self._settings.network:
            return (users,)
        return (
            users,
            ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
            ("/etc/nsswitch.conf", "passwd: files\nhosts: files\n"),
        )


def _as_they_are(paths: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((path, path) for path in dict.fromkeys(paths))


def _has_system(directory: Path) -> bool:
    """Whether nothing would run without what is in a directory."""
    return any(Path(path).is_relative_to(directory) for path in SYSTEM)


def _files_of_tool(
    means: Means,
    program: str,
    reads: Iterable[Path] | None,
    *,
    tcp: bool,
    connect: tuple[int, ...],
    listen: tuple[int, ...],
) -> plan.Files | None:
    """Rules against TCP but on and to these ports, and reading more than is given, if it is."""
    if not means.landlock:
        return None
    if reads is None:
        everything = ("/",)
        return plan.Files(everything, everything, everything, tcp, connect, listen)
    programs = (*SYSTEM, *map(str, _installed(Path(program))))
    return plan.Files(
        read=("/proc", "/dev", *map(str, reads)),
        write=("/dev/null",),
        execute=programs,
        tcp=tcp,
        connect=connect,
        listen=listen,
    )


@cache
def _installed(program: Path) -> tuple[Path, ...]:
    """Where a program is, through links, and the libraries that it came with."""
    real = program.resolve()
    roots = [program.parent.parent, real.parent.parent]
    # A Python package has its libraries in a directory beside its own.
    roots += [libraries for above in real.parents[2:4] for libraries in above.glob("*.libs")]
    return tuple(root for root in dict.fromkeys(roots) if root != Path("/"))


def _is_below(path: Path, directories: Iterable[str | Path]) -> bool:
    return any(path.is_relative_to(directory) for directory in directories)


@cache
def _outside_system(layout: Layout) -> tuple[Path, ...]:
    """What an installation has and uses that is not among the system's directories."""
    # Its programs find the rest relative to where they are.
    parts = [layout.bin_dir.parent, layout.share_dir, layout.library_dir]
    parts += (*layout.linked, *(one.path for one in layout.outside))
    found: list[Path] = []
    for path in parts:
        if not _is_below(path, (*SYSTEM, *found)):
            found.append(path)
    return tuple(found)


@cache
def _interpreter(program: str) -> tuple[str, ...]:
    """What the kernel loads a program with, as it says itself: the dynamic linker, if any."""
    with Path(program).open("rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return ()
        table, size, count = (
            *struct.unpack_from("<Q", head, 32),
            *struct.unpack_from("<HH", head, 54),
        )
        for number in range(count):
            file.seek(table + number * size)
            kind, _, offset, _, _, length = struct.unpack("<IIQQQQ", file.read(40))
            if kind == 3:  # PT_INTERP
                file.seek(offset)
                return (os.fsdecode(file.read(length).rstrip(b"\0")),)
    return ()
