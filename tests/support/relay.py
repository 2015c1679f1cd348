# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP relay that a test puts where a node dials, to keep it waiting until the test has done something else."""
import contextlib
import socket
import threading


class Gate:
    """Its connections wait until it is opened, then pass bytes both ways."""

    def __init__(self, target):
        self.target, self.opened = target, threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.arrived = threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):      # closed at the end
            while True:
                threading.Thread(target=self.relay, args=(self.listener.accept()[0],), daemon=True).start()

    def relay(self, client):
        self.arrived.set()
        self.opened.wait()
        server = socket.create_connection(("127.0.0.1", self.target))
        back = threading.Thread(target=self.pump, args=(server, client), daemon=True)
        back.start()
        self.pump(client, server)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self):
        self.opened.set()
        self.listener.close()
