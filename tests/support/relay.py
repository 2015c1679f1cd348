# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP relay that a test puts where a node dials, to keep it waiting until the test has done something else."""
import contextlib
import socket
import struct
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


class Cut:
    """Passes bytes both ways between its address and the same port of 127.0.0.2, until so many have come from its clients: then
    nothing passes any more, while all connections stay, and new ones are taken and not served: as when a network is cut."""

    def __init__(self, address, port, target="127.0.0.2"):
        self.target = (target, port)
        self.lock, self.open = threading.Condition(), []
        self.passed, self.limit, self.is_closed = 0, None, False
        self.listener = socket.create_server((address, port))
        threading.Thread(target=self.serve, daemon=True).start()

    def stop_after(self, count):
        """From now on count bytes of the clients pass."""
        self.drop_all()
        with self.lock:
            self.passed, self.limit = 0, count

    def pass_all(self):
        self.drop_all()
        self.heal()

    def heal(self):
        """Bytes that waited pass, as when a cable is plugged in again."""
        with self.lock:
            self.limit = None
            self.lock.notify_all()

    def is_reached(self):
        with self.lock:
            return self.limit is not None and self.passed >= self.limit

    def serve(self):
        with contextlib.suppress(OSError):      # closed at the end
            while True:
                client = self.listener.accept()[0]
                with self.lock:
                    self.open.append(client)
                threading.Thread(target=self.relay, args=(client,), daemon=True).start()

    def relay(self, client):
        self.wait_for_way()
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        with self.lock:
            self.open.append(server)
        threading.Thread(target=self.pump, args=(server, client, False), daemon=True).start()
        self.pump(client, server, True)

    def wait_for_way(self):
        with self.lock:
            self.lock.wait_for(lambda: self.limit is None or self.passed < self.limit)

    def pump(self, source, sink, is_counted):
        try:
            while data := source.recv(16384):
                self.wait_for_way()
                with self.lock:
                    self.passed += len(data) if is_counted else 0
                sink.sendall(data)
            self.wait_for_way()      # an end does not pass either
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self.wait_for_way()      # nor does a reset
            for s in (source, sink):
                with contextlib.suppress(OSError):
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    s.shutdown(socket.SHUT_RD)   # wakes its other thread
                    s.close()

    def drop_all(self):
        with self.lock:
            old, self.open = self.open, []
        for s in old:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()

    def close(self):
        self.pass_all()
        self.listener.close()
