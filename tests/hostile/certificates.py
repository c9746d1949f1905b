"""Certificates to serve with, signed by themselves."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests import needs


class Files(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path


def new(directory: Path, name: str = "IP:127.0.0.1") -> Files:
    """A certificate for a name or an address."""
    program = shutil.which("openssl")
    if program is None:
        needs.missing("needs openssl")
    directory.mkdir()
    files = Files(directory / "cert.pem", directory / "key.pem")
    subprocess.run(
        [
            *(program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=engine"),
            *("-addext", f"subjectAltName={name}"),
            *("-out", files.certificate, "-keyout", files.key),
        ],
        check=True,
        capture_output=True,
    )
    return files
