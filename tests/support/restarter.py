# SPDX-License-Identifier: GPL-2.0-or-later
"""Lets a program that a test runs restart the lab's servers, as `systemctl restart` would: the test's process does it."""
import os
import socket
import threading

PROGRAM = """#!/usr/bin/python3
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("%s")
s.sendall(sys.argv[1].encode())
sys.exit(s.recv(10) != b"done")
"""


class Restarter:
    """`self.command NODE` stops and starts a node; `spoil` may change the node in between."""

    def __init__(self, lab, spoil=lambda node: None):
        self.lab, self.spoil, self.lock = lab, spoil, threading.Lock()
        self.command, path = os.path.join(lab.dir, "restart"), os.path.join(lab.dir, "restart.sock")
        with open(self.command, "w") as f:
            f.write(PROGRAM % path)
        os.chmod(self.command, 0o755)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return      # closed
            threading.Thread(target=self.restart, args=(client,)).start()

    def restart(self, client):
        with client, self.lock:
            name = client.recv(100).decode()
            node = next(n for n in self.lab.nodes if n.name == name)
            node.stop()
            self.spoil(node)
            node.start()
            try:
                client.sendall(b"done")
            except OSError:
                pass    # who asked was killed

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            pass        # a restart under way ends
