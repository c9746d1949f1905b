"""The exec kind's own fields of a request."""

from pgstrata.domain.model import Model


class ExecFields(Model, frozen=True, kw_only=True):
    """A command, and what it depends on."""

    exec_command: tuple[str, ...] = ()
    """The program and its arguments, as in a shell."""
    exec_inputs: tuple[str, ...] = ()
    """Absolute paths of files and directories, and patterns; without any, it runs every time."""
    exec_read: tuple[str, ...] = ()
    """Absolute paths of what it may read besides, without being named by its content."""
    exec_env: dict[str, str] = {}
    """Variables it gets, besides those that tell it its server."""
    exec_network: bool = False
    """Whether it may connect to others than its server."""
    exec_path: str | None = None
    """Where it, and programs that it runs, are looked for; None for the system's directories."""
