# SPDX-License-Identifier: GPL-2.0-or-later
"""xebec options: every provider option with its default and what it does."""
import contextlib
import json
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
XEBEC = os.environ.get("XEBEC_CLI", os.path.join(ROOT, "build/release/src/cli/xebec"))


@contextlib.contextmanager
def cluster():
    """The tests need no servers."""
    yield None


def run(*arguments, code=0):
    done = subprocess.run([XEBEC, "options", *arguments], capture_output=True, text=True)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_all(_):
    options = json.loads(run("--json"))
    assert list(options) == sorted(options)
    assert len(options) > 88, len(options)   # those that the server shows, and hidden ones
    for name, option in options.items():
        assert len(option["help"]) > 5 and option["set"].startswith("at "), (name, option)
    assert options["pc.weight"] == {"default": "1", "help": "weight of this node in quorum", "set": "at any time", "deprecated": False}
    assert options["gcs.fc_master_slave"]["deprecated"]
    text = run()
    assert all("\n%s" % name in "\n" + text for name in options), text


def test_part(_):
    assert run("suspect_timeout") == "evs.suspect_timeout = PT5S\n    silence until a node is suspected\n    set at any time\n"
    assert {name.split(".")[0] for name in json.loads(run("--json", "gcache."))} == {"gcache"}
    assert "no option has 'nosuch' in its name" in run("nosuch", code=2)
    assert "one part of a name is enough" in run("a", "b", code=2)
