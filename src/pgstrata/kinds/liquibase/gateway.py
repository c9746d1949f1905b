"""Py4J's two ends: calls from here into Java, and from Java back here.

Imported only where a Java is started, since it takes the package ``py4j``.
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

_LOCALHOST = "127.0.0.1"
_SEGMENT = 1460

# A Java that ends is told of by whoever used it.
logging.getLogger("py4j").setLevel(logging.CRITICAL)


class Gateways:
    """A Java's own gateway, and a second one in the same Java that can call us back.

    The first is made on Java's command line and knows no token to call back with.
    """

    def __init__(self, port: int, token: str) -> None:
        """Connect to the first. Raises ``Py4JNetworkError``."""
        self.first = _gateway(port, token)
        self.first.start_callback_server(
            CallbackServerParameters(
                port=0, daemonize=True, daemonize_connections=True, auth_token=token
            )
        )
        self._callbacks = self.first.get_callback_server()
        address = self.first.jvm.java.net.InetAddress.getByName(_LOCALHOST)
        builder = getattr(self.first.jvm.py4j, "GatewayServer$GatewayServerBuilder")()
        builder.javaPort(0).javaAddress(address)
        builder.callbackClient(self._callbacks.get_listening_port(), address, token)
        self.server = builder.authToken(token).build()
        """Java's object for the second."""
        self.server.start(True)
        self._second = _gateway(self.server.getListeningPort(), token)
        self.client: Any = self._second._gateway_client
        """What Java's objects are reached through."""
        # Objects of ours that Java calls are known to the gateway they were handed to.
        self._callbacks.pool = self._second.gateway_property.pool
        self._callbacks.gateway_client = self.client

    def close(self) -> None:
        """Let go of every socket and thread; Java may be gone."""
        with suppress(Exception):
            self._callbacks.shutdown()
        for gateway in (self._second, self.first):
            with suppress(Exception):
                gateway.close()


class _Client(GatewayClient):  # type: ignore[misc]
    """Sends each command once. Py4J's own tries again, which for a lost Java leaks sockets, and
    could have Java do a thing twice."""

    def __init__(self, parameters: GatewayParameters, properties: GatewayProperty) -> None:
        super().__init__(gateway_parameters=parameters, gateway_property=properties)
        self._lost = False

    def send_command(self, command: str, retry: bool = True, binary: bool = False) -> Any:
        """Py4J's. Raises ``Py4JNetworkError`` when Java is gone, from then on."""
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
        # Java writes a long answer in pieces and sends the last once those before it are
        # acknowledged: at once after two full segments, but 40 ms later after less.
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
