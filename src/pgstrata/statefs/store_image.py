"""A store on a btrfs of its own: a sparse file beside its directory, mounted on that.

The image of ``/var/lib/pgstrata`` is ``/var/lib/pgstrata.btrfs``: that it is there is all that
tells of it, so nothing needs to be remembered. Only root can mount. Space that is freed in the
store goes back to the file system of the image. Every call blocks.

While it is worked on, the directory that it is in is locked. A kill leaves an image that has no
name yet, which the next call removes, or one that is not mounted, which it mounts: only whole
images get their names.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pgstrata.domain.sizes import rounded
from pgstrata.errors import ConflictError, NotFoundError, ProgramError, StoreUnusableError
from pgstrata.system import faults, locks, subprocesses, walking
from pgstrata.system.capabilities import lacking
from pgstrata.system.descriptors import opened

LEAST_BYTES = 1 << 30
"""The smallest image: btrfs itself wants some hundred megabytes."""

ENGINE_LOCK = "engine.lock"
"""The file of a store that its engine has locked."""

_SUFFIX = ".btrfs"
_DRAFT = ".btrfs.new"

_MAGIC, _MAGIC_AT = b"_BHRfS_M", (64 << 10) + 64
"""``BTRFS_MAGIC`` in its superblock: the kernel's include/uapi/linux/btrfs_tree.h."""

_OPTIONS = "discard=async,noatime"
"""What is discarded goes back to where the image is, and reading writes nothing."""

_RELEASE_SECONDS = 10.0
"""How long the kernel may take to release a device after the last unmount."""
_LOOK_SECONDS = 0.05

_PROGRAMS = "/usr/local/sbin:/usr/sbin:/sbin"
_LOOPS = Path("/sys/block")


class StoreImage:
    """The image of a store, which there may or may not be."""

    def __init__(self, store: Path) -> None:
        self.store = Path(os.path.abspath(store))  # noqa: PTH100 - links are part of its name
        self.file = Path(f"{self.store}{_SUFFIX}")

    @property
    def exists(self) -> bool:
        """Whether the store is on such an image, mounted or not."""
        return os.path.isfile(self.file)  # noqa: PTH113 - what cannot be looked at is none

    @property
    def is_mounted(self) -> bool:
        """Whether it is mounted on the store's directory."""
        devices, where = self._devices(), str(self.store.resolve())
        return any(one.device in devices and one.place == where for one in _mounts())

    @property
    def held_bytes(self) -> int:
        """What it takes of the file system that it is on."""
        return walking.allocated(self.file.stat())

    @property
    def size_bytes(self) -> int:
        """How large the btrfs in it is."""
        return self.file.stat().st_size

    def create(self, size_bytes: int) -> None:
        """Make the image and mount it; complete what a kill left of that.

        Raises ``ConflictError`` if it is there, or there is something in the directory, and
        ``StoreUnusableError``.
        """
        self._check_means("mkfs.btrfs", "mount")
        if not self.store.parent.is_dir():
            raise StoreUnusableError(
                f"{self.store.parent} is no directory", remedy="make it, or choose another"
            )
        with self._locked():
            self._draft.unlink(missing_ok=True)
            if self.exists and (self.is_mounted or not self._directory_is_empty()):
                raise ConflictError(
                    f"the store {self.store} is on a btrfs of its own already",
                    remedy=f"change its size: pgstrata store resize {self.store} --size SIZE",
                )
            if not self._directory_is_empty():
                raise ConflictError(
                    f"{self.store} is not empty, and what is in it would be covered",
                    remedy="name a directory that is empty or not there; if a store is there, "
                    "remove its instances, stop its engine, and move it away first "
                    f"(mv {self.store} {self.store}.old)",
                )
            if os.path.ismount(self.store):
                raise ConflictError(
                    f"something is mounted on {self.store} already",
                    remedy="name a directory below it",
                )
            if not self.exists:
                self._check_worth()
                self._make(size_bytes)
            self._mount()

    def attach(self) -> bool:
        """Mount it if it is there and is not mounted, as after a boot; whether it was not.

        Raises ``StoreUnusableError`` if that cannot be done: nothing may use the directory then.
        """
        if not self.exists or self.is_mounted:
            return False
        self._check_means("mount")
        with self._locked():
            if self.is_mounted:
                return False
            if not self._directory_is_empty():
                raise StoreUnusableError(
                    f"{self.file} is not mounted on {self.store}, where there is something else",
                    remedy=f"move away what is in {self.store}, or the image",
                )
            self._mount()
        return True

    def resize(self, size_bytes: int) -> None:
        """Make it larger or smaller while it is used; repeat it after a kill.

        Raises ``NotFoundError``, and ``StoreUnusableError`` if there is no room for it, or what is
        in it does not fit.
        """
        self._check_means("btrfs", "losetup")
        self._check_there()
        self.attach()
        with self._locked():
            before = self.size_bytes
            if size_bytes >= before:
                self._check_room(size_bytes - before)
                self._set_size(size_bytes)
                self._resize_to("max")
                return
            try:
                self._resize_to(str(size_bytes))
            except ProgramError as error:
                raise StoreUnusableError(
                    f"the store {self.store} does not fit into {rounded(size_bytes)}",
                    remedy="remove instances and states (pgstrata rm), or choose a larger size",
                    details=error.details,
                ) from error
            self._set_size(size_bytes)

    def remove(self) -> None:
        """Unmount it and delete it with all that is in it; complete what a kill left of that.

        Raises ``NotFoundError``, and ``ConflictError`` while something in it is used.
        """
        if not self._draft.exists():
            self._check_there()
        self._check_means("umount")
        with self._locked():
            self._check_no_engine()
            while self.is_mounted:
                try:
                    _run("umount", str(self.store))
                except ProgramError as error:
                    raise ConflictError(
                        f"something in {self.store} is still used",
                        remedy="end its instances (pgstrata rm --all --force) and what else works "
                        "there",
                        details=error.details,
                    ) from error
            self._draft.unlink(missing_ok=True)
            with faults.step("store_image.remove"):
                self.file.unlink(missing_ok=True)
            if self.store.is_dir() and self._directory_is_empty():
                self.store.rmdir()

    @property
    def _draft(self) -> Path:
        return Path(f"{self.store}{_DRAFT}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with opened(self.file.parent, os.O_DIRECTORY) as directory:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield

    def _make(self, size_bytes: int) -> None:
        self._check_room(size_bytes)
        with self._draft.open("xb") as file:
            self._draft.chmod(0o600)
            file.truncate(size_bytes)
        # What is lost with its metadata can be built again.
        _run("mkfs.btrfs", "-q", "-m", "single", "-L", "pgstrata", str(self._draft))
        with self._draft.open("rb") as file:
            os.fsync(file.fileno())
        with faults.step("store_image.show"):
            self._draft.rename(self.file)

    def _mount(self) -> None:
        if not self._is_btrfs():
            raise StoreUnusableError(
                f"{self.file} is no btrfs image",
                remedy="move it away: its name makes it the store's",
            )
        self.store.mkdir(exist_ok=True)
        deadline = time.monotonic() + _RELEASE_SECONDS
        while devices := self._try_to_mount():
            # It fails on a device that is being released by the last unmount.
            if time.monotonic() > deadline:
                raise StoreUnusableError(
                    f"{self.file} cannot be mounted by {', '.join(sorted(devices))}",
                    remedy="see the kernel's log: dmesg",
                )
            time.sleep(_LOOK_SECONDS)
        self.store.chmod(0o711)
        self._bypass_cache()

    def _try_to_mount(self) -> set[str]:
        """The devices of the image with which that failed; none if it is mounted now."""
        devices = self._devices()
        what, options = str(self.file), f"loop,{_OPTIONS}"
        if devices:
            # Unmounted here, it may still be mounted for processes of a container or a cell. Their
            # device is the same btrfs; another one of the same file would damage it.
            self._check_not_elsewhere(devices)
            what, options = min(devices), _OPTIONS
        try:
            with faults.step("store_image.mount"):
                _run("mount", "-t", "btrfs", "-o", options, what, str(self.store))
        except ProgramError as error:
            if devices:
                return devices
            raise StoreUnusableError(
                f"{self.file} cannot be mounted on {self.store}",
                remedy="see the kernel's log: dmesg",
                details=error.details,
            ) from error
        return set()

    def _check_not_elsewhere(self, devices: set[str]) -> None:
        places = [one.place for one in _mounts() if one.device in devices]
        if len(devices) > 1 or places:
            raise StoreUnusableError(
                f"{self.file} is in use already: {', '.join(sorted({*devices, *places}))}",
                remedy="unmount it there, and detach it: losetup -d DEVICE",
            )

    def _bypass_cache(self) -> None:
        """Keep pages of the image from being in memory twice, where the file system lets us."""
        for device in self._devices():
            try:
                _run("losetup", "--direct-io=on", device)
            except ProgramError:
                return

    def _set_size(self, size_bytes: int) -> None:
        with faults.step("store_image.resize"):
            os.truncate(self.file, size_bytes)
        for device in self._devices():
            _run("losetup", "--set-capacity", device)

    def _resize_to(self, size: str) -> None:
        _run("btrfs", "filesystem", "resize", size, str(self.store))

    def _devices(self) -> set[str]:
        """The loop devices that the image is attached to, here or in a container."""
        found = set()
        for backing in _LOOPS.glob("loop*/loop/backing_file"):
            try:
                attached = Path(backing.read_text().rstrip("\n"))
                if attached == self.file.resolve() or attached.samefile(self.file):
                    found.add(f"/dev/{backing.parent.parent.name}")
            except OSError:
                continue  # it was detached just now, or its file is gone
        return found

    def _directory_is_empty(self) -> bool:
        try:
            return not any(self.store.iterdir())
        except FileNotFoundError:
            return True

    def _is_btrfs(self) -> bool:
        with self.file.open("rb") as file:
            file.seek(_MAGIC_AT)
            return file.read(len(_MAGIC)) == _MAGIC

    def _check_there(self) -> None:
        if not self.exists:
            raise NotFoundError(
                f"the store {self.store} is on no btrfs of its own: there is no {self.file}",
                remedy=f"make one: pgstrata store create {self.store} --size SIZE",
            )

    def _check_worth(self) -> None:
        parent = self.file.parent.resolve()
        around = [one for one in _mounts() if parent.is_relative_to(one.place)]
        nearest = max(reversed(around), key=lambda one: len(one.place))
        if nearest.kind == "btrfs":
            raise ConflictError(
                f"{parent} is on btrfs: a store there needs none of its own",
                remedy=f"use it as it is: --store {self.store}",
            )

    def _check_no_engine(self) -> None:
        file = self.store / ENGINE_LOCK
        if not file.exists():
            return
        lock = locks.try_lock(file)
        if lock is None:
            raise ConflictError(
                f"an engine (pid {locks.read_holder(file)}) runs on the store {self.store}",
                remedy=f"stop it: pgstrata engine stop --store {self.store}",
            )
        lock.close()

    def _check_room(self, more_bytes: int) -> None:
        free = shutil.disk_usage(self.file.parent).free
        if more_bytes > free:
            raise StoreUnusableError(
                f"{rounded(more_bytes)} do not fit: {rounded(free)} are free where {self.file} is",
                remedy="choose a smaller size: what is not used takes no space, but must be there "
                "when it is",
            )

    def _check_means(self, *programs: str) -> None:
        if os.geteuid() != 0 or lacking("CAP_SYS_ADMIN"):
            by_hand = f"mount -o loop,{_OPTIONS} {self.file} {self.store}"
            raise StoreUnusableError(
                f"only root can mount {self.file}",
                remedy=f"have root do it: {by_hand}"
                if self.exists
                else "use sudo, or a store without an image (see docs/store.md)",
            )
        missing = [program for program in programs if _path_of(program) is None]
        if missing:
            raise StoreUnusableError(
                f"{', '.join(missing)} is not installed",
                remedy="install btrfs-progs and util-linux",
            )


def host_free_bytes(store: Path) -> int | None:
    """What is free on the file system that a store's image is on; None for other stores."""
    image = StoreImage(store)
    return shutil.disk_usage(image.file.parent).free if image.exists else None


class _Mount(NamedTuple):
    place: str
    kind: str
    device: str


def _mounts() -> list[_Mount]:
    """What is mounted; of what is mounted on the same place, the last hides the others."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [_mount(line.split(" ")) for line in lines]


def _mount(fields: list[str]) -> _Mount:
    kind, device = fields[fields.index("-") + 1 :][:2]
    return _Mount(_unescaped(fields[4]), kind, device)


def _unescaped(path: str) -> str:
    """A path as mountinfo has it: blanks, tabs, line ends and backslashes are written in octal."""
    for character in " \t\n\\":
        path = path.replace(f"\\{ord(character):03o}", character)
    return path


def _path_of(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PROGRAMS}")


def _run(program: str, *arguments: str) -> None:
    argv: Sequence[str] = (_path_of(program) or program, *arguments)
    with tempfile.TemporaryFile() as output:
        subprocesses.run_into(
            argv, stdout=output, stdin=b"", env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
