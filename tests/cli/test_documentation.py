# SPDX-License-Identifier: GPL-2.0-or-later
"""Every command of docs/operations.md is run as it stands there, by an administrator with two servers; named tests exist."""
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time

from machines import machines
from test_cert import ROOT, XEBEC, run

# What an inline `...` of the document begins with when it is a command (SQL: a statement).
PROGRAMS = ("xebec", "openssl", "ssh", "scp", "systemctl", "galera_new_cluster", "galera_recovery", "mariadb", "mariadbd", "mariadb-install-db", "cp",
            "chmod", "chown", "SET", "SHOW", "FLUSH", "GRANT", "CREATE", "ALTER", "DROP")
COMPLAINTS = ["%d.%d" % (section, i) for section, rows in ((1, 8), (2, 9), (3, 7), (4, 8)) for i in range(1, rows + 1)]


@contextlib.contextmanager
def cluster():
    directory = tempfile.mkdtemp(prefix="xebec-cli-")
    with machines(directory) as them:
        yield them
    shutil.rmtree(directory)


def page(name):
    with open(os.path.join(ROOT, "docs", name)) as f:
        return f.read()


def steps(text):
    """-> the blocks of commands and what the test must do between them, in order: [(kind, text)]"""
    found = re.findall(r"^```sh\n(.*?)^```$|^<!-- test: (\w+) -->$", text, re.S | re.M)
    return [("run", block) if block else ("do", name) for block, name in found]


def normal(text):
    return " ".join(text.split())


def not_run(text):
    """-> what looks like a command in the document and is in no block that the test runs"""
    rest = re.sub(r"^```sh\n.*?^```$", "", text, flags=re.S | re.M)
    missed = re.findall(r"^ *(?:```|~~~).*", rest, re.M) + re.findall(r"^(?: {4,}|\t).*", rest, re.M)
    commands = normal("\n".join(block for kind, block in steps(text) if kind == "run"))
    for span in map(normal, re.findall(r"`([^`\n]+(?:\n[^`\n]+)?)`", rest)):
        if span.split()[0] in PROGRAMS and len(span.split()) > 1 and span not in commands:
            missed.append(span)
    return missed


def expected(block):
    return re.findall(r"^#> (.+)$", block, re.M)


def test_a_command_that_is_not_run_is_noticed(them):
    block = "```sh\nxebec cert check certs\n#> 0 errors\n```\n"
    assert not_run(block + "says `xebec cert check`, `mariadb`, or\n`xebec cert\ncheck certs`") == []
    for more in ("`xebec cert init certs`", "`SET GLOBAL x=1`", "```\nls\n```", "```bash\nls\n```", "    ls\n", "`openssl\nversion`", "  ```sh\n  ls\n  ```"):
        assert not_run(block + "text\n\n" + more + "\n"), more


def test_all_commands_are_in_blocks_that_are_run(them):
    text = page("operations.md")
    assert not not_run(text), not_run(text)
    assert len(steps(text)) > 30


def plaintext(them):
    """The cluster as it is before `xebec encrypt`: without certificates, and with an account that needs none."""
    done = them.run(r"""
        for node in n2=db2.example n1=db1.example; do
            host=${node#*=}
            ssh root@$host 'systemctl stop mariadb; rm -f /etc/mysql/mariadb.conf.d/95-byhand.cnf /etc/mysql/xebec'
            xebec config inventory ${node%=*} | sed '/^ssl_/d; /^require_secure/d; s/socket[.]ssl[^;"]*;//g; s/^encrypt = 4/encrypt = 0/' |
                ssh root@$host 'cat > /etc/mysql/mariadb.conf.d/90-xebec.cnf'
        done
        ssh root@db1.example galera_new_cluster
        ssh root@db1.example mariadb <<< "ALTER USER admin@'10.77.0.%' REQUIRE NONE"
        ssh root@db2.example systemctl start mariadb
        timeout 120 ssh root@db1.example 'until mariadb -e "SHOW STATUS LIKE \"wsrep_local_state_comment\"" | grep Synced; do sleep 1; done'
        ssh root@db2.example mariadb <<< "SHOW VARIABLES LIKE 'have_ssl'; SHOW STATUS LIKE 'wsrep_ssl_plaintext'"
        """)
    assert done.returncode == 0 and "DISABLED" in done.stdout and "only" in done.stdout, done.stdout


def check(them, block):
    began = time.monotonic()
    done = them.run(block)
    said = "\n%s\n-- said, with code %d:\n%s" % (block, done.returncode, done.stdout[-6000:])
    assert done.returncode == 0, said
    at = 0
    for words in expected(block):
        at = done.stdout.find(words, at)
        assert at >= 0, "'%s' is not in it, or not in this order: %s" % (words, said)
    print("# %5.1f s: %s ..." % (time.monotonic() - began, block.splitlines()[0][:90]), flush=True)


def test_the_commands_do_what_the_page_says(them):
    try:
        for kind, text in steps(page("operations.md")):
            check(them, text) if kind == "run" else {"plaintext": plaintext}[text](them)
    except AssertionError:
        for m in them.servers:
            print("# %s: the end of its log:\n%s" % (m.name, m.log()[-2500:]), flush=True)
        raise


def answers():
    """-> {number of a complaint: the cell with its tests}, of docs/security.md"""
    return {row[0].strip(): row[3] for row in (line.strip("|").split("|") for line in page("security.md").splitlines()) if re.fullmatch(r" \d\.\d ", row[0])}


def defined(path):
    with open(os.path.join(ROOT, "tests", path)) as f:
        return re.findall(r"^(?:def|static void) (\w+)\(", f.read(), re.M)


def test_every_complaint_has_its_answer_and_test(them):
    rows = answers()
    assert sorted(rows) == COMPLAINTS, set(rows) ^ set(COMPLAINTS)
    for number, cell in rows.items():
        named = re.findall(r"`([\w/.]+\.(?:py|c))((?: \w+,?)+)`", cell)
        assert named, (number, "names no test")
        for path, names in named:
            for name in names.replace(",", " ").split():
                assert name in defined(path), (number, path, name)


def test_every_command_is_documented(them):
    with open(ROOT + "/packaging/man/xebec.1") as f:
        text = f.read().replace("\\-", "-")
    commands = re.findall(r"^  (\w+(?: \w+)?)  +", run("--help"), re.M)
    assert len(commands) >= 7
    for command in commands:
        assert ".B xebec %s\n" % command in text, command
        assert "Usage: xebec " + command in run(command + " --help")


def test_completion(them):
    script = ('source "%s/packaging/completion/xebec"; compopt() { :; }; COMP_WORDS=("%s" cert init --keep); COMP_CWORD=3; _xebec; echo "${COMPREPLY[@]}"'
              % (ROOT, XEBEC))
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout.split() == ["--keep-ca"]
