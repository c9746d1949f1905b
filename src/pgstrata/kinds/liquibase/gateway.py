"""Py4J's two directions: calls from here into Java, and from Java back here.

Imported only when Java is started, since it needs the package ``py4j``.
"""

import logging
import socket
from contextlib import suppress
from typing import Any

from py4j.java_gateway import (
    CallbackServerParameters,
    GatewayClient,
    GatewayConnection,
    GatewayParameters,
    GatewayProperty,
    JavaGateway,
)
from py4j.protocol import Py4JNetworkError

from pgstrata.runtime.ports import HOST

_SEGMENT = 1460

# Its caller reports a Java process that ends.
logging.getLogger("py4j").setLevel(logging.CRITICAL)


class Gateways:
    """A Java process's first gateway, and a second one that can call us back.

    The first is made on Java's command line and has no token for calling back.
    """

    def __init__(self, port: int, token: str, callbacks: int) -> None:
        """Connect to the first, and be called on the port ``callbacks``.

        Raises ``Py4JNetworkError``.
        """
        self.first = _gateway(port, token)
        self.first.start_callback_server(
            CallbackServerParameters(
                port=callbacks, daemonize=True, daemonize_connections=True, auth_token=token
            )
        )
        self._callbacks = self.first.get_callback_server()
        address = self.first.jvm.java.net.InetAddress.getByName(HOST)
        builder = getattr(self.first.jvm.py4j, "GatewayServer$GatewayServerBuilder")()
        builder.javaPort(0).javaAddress(address)
        builder.callbackClient(self._callbacks.get_listening_port(), address, token)
        self.server = builder.authToken(token).build()
        """Java's object for the second."""
        self.server.start(True)
        self._second = _gateway(self.server.getListeningPort(), token)
        self.client: Any = self._second._gateway_client
        """The connection to Java's objects."""
        # Our objects that Java calls are known to the gateway that they were passed to.
        self._callbacks.pool = self._second.gateway_property.pool
        self._callbacks.gateway_client = self.client

    def close(self) -> None:
        """Close every socket and thread; Java may be gone."""
        with suppress(Exception):
            self._callbacks.shutdown()
        for gateway in (self._second, self.first):
            with suppress(Exception):
                gateway.close()


class _Client(GatewayClient):  # type: ignore[misc]
    """Sends each command once. Py4J's own client retries, which leaks sockets if Java is gone, and
    could make Java do something twice."""

    def __init__(self, parameters: GatewayParameters, properties: GatewayProperty) -> None:
        super().__init__(gateway_parameters=parameters, gateway_property=properties)
        self._lost = False

    def send_command(self, command: str, retry: bool = True, binary: bool = False) -> Any:
        """Py4J's method. Raises ``Py4JNetworkError`` once Java is gone."""
        if self._lost:
            raise Py4JNetworkError("Java is gone")
        connection = self._get_connection()
        try:
            response = connection.send_command(command)
        except Py4JNetworkError:
            self._lost = True
            connection.close()
            raise
        if binary:
            return response, self._create_connection_guard(connection)
        self._give_back_connection(connection)
        return response

    def _create_connection(self) -> GatewayConnection:
        connection = GatewayConnection(self.gateway_parameters, self.gateway_property)
        # Java writes a long answer in pieces, and sends the last only when the earlier ones are
        # acknowledged: immediately after two full segments, but 40 ms later after less.
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
        try:
            connection.start()
        except Py4JNetworkError:
            self._lost = True
            connection.close()
            raise
        return connection


def _gateway(port: int, token: str) -> JavaGateway:
    parameters = GatewayParameters(port=port, auth_token=token, enable_memory_management=False)
    draft = JavaGateway(gateway_parameters=parameters)
    client = _Client(parameters, draft.gateway_property)
    return JavaGateway(gateway_client=client, gateway_parameters=parameters)
