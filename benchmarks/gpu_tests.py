"""The tests that are marked `gpu`, by pytest where it is installed; elsewhere the checks of gpu_correct.py on sizes of
their own, which need nothing."""

import re
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from gpu_correct import check, odd_cases
from gpu_results import REFUSED, UNFINISHED, row

ROOT = Path(__file__).resolve().parents[1]
LAST_WORDS = 4  # seconds
# pytest in a tree that was only unpacked: the fast twins get their name, and what is tested is found
STARTER = """
import sys
from minilstm.twins import registry
registry()
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""


def tests(gpu, journal, until):
    """A row with the number of tests that passed; what failed is in its note."""
    missing = [package for package in ("pytest", "hypothesis") if find_spec(package) is None]
    if missing:
        journal.write([row("tests", "pytest", "pytest", note=f"{REFUSED}{' and '.join(missing)} not installed")])
        return check(gpu, journal, until, cases=list(odd_cases(seed=1000)))
    if journal.measured("pytest", "", "", {}):
        return None
    journal.write([pytest_row(*run([*ARGUMENTS, *files()], journal, until))])
    return None


# A few examples of each, since new sizes are new kernels to be compiled; and what somebody else's package, in the
# version that is there, warns of is no failure of ours.
ARGUMENTS = ["-v", "-m", "gpu", "-p", "no:cacheprovider", "-W", "default", "--tb=line", "--hypothesis-profile=gpu"]


def files():
    """Those with tests for a GPU. To collect all of them takes half a minute, and more packages than these need."""
    return [str(path) for path in sorted((ROOT / "tests").glob("test_*.py"))
            if re.search(r"@every_recurrence|mark\.gpu", path.read_text(encoding="utf-8"))]  # fmt: skip


def run(arguments, journal, until):
    """-> the exit code (None: it was ended when its time was up) and the output of pytest"""
    command = [sys.executable, "-c", STARTER, *arguments]
    output = journal.path.with_suffix(".pytest.txt")
    with open(output, "wb") as f:
        process = subprocess.Popen(command, cwd=ROOT, stdout=f, stderr=subprocess.STDOUT)
        while process.poll() is None and time.time() < until:
            journal.beat(provider="pytest")
            time.sleep(0.2)
        code = process.poll()
        if code is None:
            process.send_signal(signal.SIGINT)  # then it says how far it has come
            try:
                process.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    journal.doing_path.unlink(missing_ok=True)
    return code, output.read_text(encoding="utf-8", errors="replace")


def pytest_row(code, output):
    """The number that passed, and what is to be said if not all did: by the line of each test, since the summary is
    missing where the time was up."""
    found = re.findall(r"^(?:(\S+::.*?) )?(PASSED|FAILED|ERROR)\b(?: (.*?)(?: - .*)?$)?", output, re.MULTILINE)
    passed = sum(how == "PASSED" for _, how, _ in found)
    failed = list(dict.fromkeys(before or after for before, how, after in found if how != "PASSED"))
    said = {0: "", None: "ended when its time was up", 5: "no test is marked gpu"}.get(code, f"exit code {code}")
    last = (output.strip().splitlines() or [""])[-1]
    note = "; ".join(filter(None, [said, *failed[:5], last if said else ""]))
    if code is None:  # the next time they begin anew
        return row("tests", "pytest", "pytest", note=note if failed else f"{UNFINISHED}{passed} passed; {note}")
    return row("tests", "pytest", "pytest", metric="passed", values=[passed] if passed else [], note=note)
