# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs test modules: every function test_* in the order of the file, with what the module's `cluster()` yields.

With `--jobs N`, N modules run at once, each in a process of its own: servers wait more than they work. A path that is named
twice runs once, so the long ones can be put first.
A module has a function `cluster()`, a context manager whose value is passed to each of its tests; one cluster serves
them all, since servers are slow to start. The last line says `N passed, N failed`.
"""
import concurrent.futures
import importlib.util
import os
import queue
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback


MODULE_SECONDS = 1500   # the longest takes ten minutes on a busy machine: a hang must not look like work


def load(path):
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(os.path.basename(path)[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def processor_seconds():
    """Of this process and of all that it has waited for: servers, and their programs"""
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def run_module(path, only):
    module = load(path)
    tests = [(n, f) for n, f in vars(module).items() if n.startswith("test_") and callable(f) and (not only or only in n)]
    passed = failed = 0
    if not tests:
        return passed, failed
    title = os.path.relpath(path)
    print("# %s: %s" % (title, (module.__doc__ or "").splitlines()[0] if module.__doc__ else ""), flush=True)
    began, used = time.monotonic(), processor_seconds()
    try:
        with module.cluster() as cluster:
            for name, test in tests:
                start = time.monotonic()
                try:
                    test(cluster)
                    passed += 1
                    print("ok     %s %s (%.1f s)" % (title, name, time.monotonic() - start), flush=True)
                except Exception:
                    failed += 1
                    os.environ["XEBEC_KEEP"] = "1"   # the servers' logs are wanted now
                    print("FAILED %s %s (%.1f s)\n%s" % (title, name, time.monotonic() - start, traceback.format_exc()), flush=True)
    except Exception:
        failed += len(tests) - passed - failed
        print("FAILED %s: its cluster did not start or stop\n%s" % (title, traceback.format_exc()), flush=True)
    print("# %s: %.0f s, %.0f s of processor time" % (title, time.monotonic() - began, processor_seconds() - used), flush=True)
    return passed, failed


def run_in_process(path, only, port_ranges):
    command = [sys.executable, os.path.abspath(__file__)] + (["-k", only] if only else []) + [path]
    ports = port_ranges.get()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=dict(os.environ, XEBEC_PORTS=ports))
    interrupt = threading.Timer(MODULE_SECONDS, process.send_signal, [signal.SIGINT])   # its lab stops the servers then
    interrupt.start()
    output = process.communicate()[0]
    interrupt.cancel()
    port_ranges.put(ports)
    lines = output.splitlines()
    result = re.fullmatch(r"(\d+) passed, (\d+) failed", lines[-1]) if lines else None
    print("\n".join(lines[:-1] if result else lines + ["FAILED %s: it ended without a result" % path]), flush=True)
    return (int(result[1]), int(result[2])) if result else (0, 1)


def in_processes(paths, only, jobs):
    """Each job has ports of its own: a stopped node's are free for all to see, but it will want them back."""
    port_ranges = queue.SimpleQueue()
    width = 22000 // jobs
    for i in range(jobs):
        port_ranges.put("%d-%d" % (10000 + i * width, 9999 + (i + 1) * width))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda path: run_in_process(path, only, port_ranges), paths))


def option(arguments, name):
    if name not in arguments:
        return None
    i = arguments.index(name)
    value = arguments[i + 1]
    del arguments[i:i + 2]
    return value


def allow_many_files():
    """Tests that play a crowd of strangers hold a socket for each; a usual limit is 1024."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments):
    allow_many_files()
    only, jobs = option(arguments, "-k"), int(option(arguments, "--jobs") or 1)
    paths = []
    for a in arguments:
        paths += [os.path.join(a, f) for f in sorted(os.listdir(a)) if f.startswith("test_") and f.endswith(".py")] if os.path.isdir(a) else [a]
    paths = list(dict.fromkeys(os.path.normpath(p) for p in paths))
    with tempfile.TemporaryDirectory(prefix="xebec-template-") as shared:
        os.environ.setdefault("XEBEC_TEMPLATE", os.path.join(shared, "data"))   # labs make it, once for all
        results = in_processes(paths, only, jobs) if jobs > 1 else [run_module(p, only) for p in paths]
    passed, failed = (sum(r[i] for r in results) for i in (0, 1))
    print("%d passed, %d failed" % (passed, failed), flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
