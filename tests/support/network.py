# SPDX-License-Identifier: GPL-2.0-or-later
"""A network of the test's own, so that cables can be pulled: each node in a network namespace, all at one bridge.

Needs root. SQL still goes through the nodes' Unix sockets. close() removes the namespaces, and with them everything.
"""
import os
import subprocess


def ip(*arguments):
    subprocess.run(["ip"] + list(arguments), check=True, capture_output=True)


class Network:
    def __init__(self, lab):
        self.prefix = "xebec%d" % os.getpid()
        self.hub = self.prefix + "-hub"
        self.names = []
        self.add(self.hub)
        self.inside(self.hub, "link", "add", "bridge", "type", "bridge")
        self.inside(self.hub, "link", "set", "bridge", "up")
        for n in lab.nodes:
            self.plug_in(n)

    def add(self, name):
        ip("netns", "add", name)
        self.names.append(name)
        self.inside(name, "link", "set", "lo", "up")

    def inside(self, name, *arguments):
        ip("-n", name, *arguments)

    def plug_in(self, node):
        name, cable = "%s-%s" % (self.prefix, node.name), "to-" + node.name
        self.add(name)
        ip("link", "add", cable, "netns", self.hub, "type", "veth", "peer", "name", "eth", "netns", name)
        self.inside(self.hub, "link", "set", cable, "master", "bridge", "up")
        node.address = "10.77.0.%d" % node.index
        self.inside(name, "address", "add", node.address + "/24", "dev", "eth")
        self.inside(name, "link", "set", "eth", "up")
        node.launcher = ["ip", "netns", "exec", name]

    def pull_cable(self, node):
        self.inside(self.hub, "link", "set", "to-" + node.name, "down")

    def push_cable(self, node):
        self.inside(self.hub, "link", "set", "to-" + node.name, "up")

    def close(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], check=False)
