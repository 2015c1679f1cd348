# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of docs/operations.md about certificates are run as they stand there; the man page knows every command."""
import contextlib
import os
import re
import shutil
import subprocess
import tempfile

from test_cert import ROOT, XEBEC, run


@contextlib.contextmanager
def cluster():
    directory = tempfile.mkdtemp(prefix="xebec-cli-")
    yield directory
    shutil.rmtree(directory)


def test_the_blocks_of_operations(directory):
    with open(ROOT + "/docs/operations.md") as f:
        part = re.search(r"<!-- tested: begin -->(.*?)<!-- tested: end -->", f.read(), re.S).group(1)
    blocks = re.findall(r"```sh\n(.*?)```", part, re.S)
    assert len(blocks) >= 5
    environment = dict(os.environ, PATH=os.path.dirname(XEBEC) + ":" + os.environ["PATH"])
    for block in blocks:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=directory, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (block, done.stdout, done.stderr)
    assert os.path.exists(directory + "/etc/n2/tls/server-cert.pem")


def test_every_command_is_documented(directory):
    with open(ROOT + "/packaging/man/xebec.1") as f:
        page = f.read().replace("\\-", "-")
    commands = re.findall(r"^  (\w+(?: \w+)?)  +", run("--help"), re.M)
    assert len(commands) >= 7
    for command in commands:
        assert ".B xebec %s\n" % command in page, command
        assert "Usage: xebec " + command in run(command + " --help")


def test_completion(directory):
    script = ('source "%s/packaging/completion/xebec"; compopt() { :; }; COMP_WORDS=("%s" cert init --keep); COMP_CWORD=3; _xebec; echo "${COMPREPLY[@]}"'
              % (ROOT, XEBEC))
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split() == ["--keep-ca"]
