"""Where a request's relative paths start."""

from pathlib import Path

from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.sources.base import Sources


def work_dir_of(request: PrepareRequest, sources: Sources) -> Path:
    """The request's directory, or the root if it names none. Raises ``InvalidArgumentError``."""
    if request.work_dir is None:
        return Path("/")
    path = Path(request.work_dir)
    if not (path.is_absolute() and sources.is_directory(path)):
        raise InvalidArgumentError(
            f"work_dir {path} is not the absolute path of a directory",
            remedy="name the directory that relative paths start from",
        )
    return path
