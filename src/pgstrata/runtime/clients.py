"""Who is connected to a server."""

from pgstrata.dbms.base import Dbms
from pgstrata.domain.instance import Server
from pgstrata.runtime.base import Runtime


async def count_clients(server: Server, runtime: Runtime, dbms: Dbms) -> int:
    """How many clients are connected to a server that is running.

    Raises ``ServerError`` if it would have to be asked and does not answer.
    """
    return await dbms.connections(server) if runtime.has_others(server) else 0
