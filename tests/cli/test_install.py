# SPDX-License-Identifier: GPL-2.0-or-later
"""`meson install` puts every part where the server, systemd, man and bash look for it, and the installed parts start."""
import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile

from test_cert import ROOT

PROVIDER = os.environ.get("XEBEC_PROVIDER", os.path.join(ROOT, "build/release/src/provider/libxebec_smm.so"))
BUILD = os.path.abspath(os.path.join(os.path.dirname(PROVIDER), "../.."))
# What the server finds in its PATH; and what must be put in the place of a stock program.
OWN_NAMES = ["wsrep_sst_xebec", "wsrep_sst_xebec_backup", "wsrep_sst_xebec_rsync", "wsrep_sst_xtrabackup", "wsrep_sst_xtrabackup-v2"]
STOCK_NAMES = ["wsrep_sst_mariabackup", "wsrep_sst_mysqldump", "wsrep_sst_rsync", "wsrep_sst_rsync_wan"]


@contextlib.contextmanager
def cluster():
    directory = tempfile.mkdtemp(prefix="xebec-install-")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", directory], check=True, capture_output=True)
    try:
        yield directory + option("prefix")
    finally:
        shutil.rmtree(directory)


@functools.cache
def option(name):
    found = subprocess.run(["meson", "introspect", BUILD, "--buildoptions"], check=True, capture_output=True, text=True).stdout
    return next(o["value"] for o in json.loads(found) if o["name"] == name)


def files(prefix):
    """-> paths below the prefix of all that is installed"""
    return {os.path.relpath(os.path.join(d, f), prefix) for d, _, names in os.walk(prefix) for f in names}


def test_everything_is_in_its_place(prefix):
    expected = {"bin/xebec", "bin/xebec-sst", "sbin/xebec-arbitrator", option("libdir") + "/galera/libxebec_smm.so",
                "lib/systemd/system/xebec-arbitrator.service", "share/bash-completion/completions/xebec", "share/man/man1/xebec.1",
                "share/man/man1/xebec-sst.1", "share/man/man7/libxebec_smm.7", "share/man/man8/xebec-arbitrator.8"}
    expected |= {path % name for name in OWN_NAMES for path in ("bin/%s", "share/man/man1/%s.1")} | {"lib/xebec/sst/" + name for name in STOCK_NAMES}
    assert files(prefix) == expected, files(prefix) ^ expected


def test_programs_start(prefix):
    for program in ("bin/xebec", "sbin/xebec-arbitrator"):
        done = subprocess.run([os.path.join(prefix, program), "--version"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, (program, done)
    subprocess.run(["/usr/bin/python3", "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1]).wsrep_loader",
                    os.path.join(prefix, option("libdir"), "galera/libxebec_smm.so")], check=True)


def test_each_name_is_a_method(prefix):
    for link in ["bin/" + name for name in OWN_NAMES] + ["lib/xebec/sst/" + name for name in STOCK_NAMES]:
        target = os.readlink(os.path.join(prefix, link))
        assert target in ("xebec-sst", option("prefix") + "/bin/xebec-sst"), (link, target)
        done = subprocess.run([os.path.basename(link)], executable=os.path.join(prefix, "bin/xebec-sst"), capture_output=True, text=True)
        assert os.path.basename(link) + ": the server gave no --address" in done.stderr, (link, done)


def test_unit_and_completion(prefix):
    with open(os.path.join(prefix, "lib/systemd/system/xebec-arbitrator.service")) as f:
        unit = f.read()
    assert "\nExecStart=%s/sbin/xebec-arbitrator " % option("prefix") in unit, unit
    subprocess.run(["bash", "-n", os.path.join(prefix, "share/bash-completion/completions/xebec")], check=True)
