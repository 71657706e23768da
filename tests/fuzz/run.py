"""Fuzz the parsers: `make fuzz MINUTES=10 TARGET=table`, or all of targets.py, each for so long, one after the other.

The engine is atheris, Python's coverage-guided fuzzer (libFuzzer). It starts from corpus/TARGET, which stays as it is:
what it adds lives in a temporary folder. A finding is printed and kept in the current folder as TARGET-crash-HASH (or
-oom-); put it into corpus/TARGET, where tests/test_fuzz.py replays it for ever, and mend the parser.
A row of each run goes to benchmarks/results/fuzz.csv.
"""

import argparse
import csv
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
RESULTS = ROOT / "benchmarks" / "results" / "fuzz.csv"
COLUMNS = ("target", "engine", "seconds", "executions", "edges", "findings", "commit", "python", "processor")
SECONDS = 5  # of the processor, for one input; libFuzzer's own limit goes by the clock, whatever else is at work
LIMITS = ("-timeout=100000", "-rss_limit_mb=1500", "-max_len=4096")  # seconds, MB, bytes of an input
WATCHED = ("ulmfit", "minilstm", "yaml", "tarfile", "zipfile", "html")  # whose branches guide the fuzzer


def watch(target, options):
    """In a process of its own, which libFuzzer ends as it likes."""
    import atheris

    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    with atheris.instrument_imports(include=list(WATCHED)):
        from fuzz.targets import TARGETS

    def one_input(data):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        TARGETS[target](data)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def too_long(*_):
        raise AssertionError(f"took more than {SECONDS} s")

    signal.signal(signal.SIGPROF, too_long)
    atheris.Setup([sys.argv[0], *options], one_input)
    atheris.Fuzz()


def fuzz(target, minutes, folder):
    """-> seconds of the processor, executions, edges (branches that were reached), findings"""
    found, seconds, executions, edges = [], 0.0, 0, 0
    (folder / target).mkdir()
    while seconds < 60 * minutes and not found:  # once; again where other programs were given half of the time
        said, used = run(target, 60 * minutes - seconds, folder / target)
        seconds += used
        executions += int(re.findall(r"stat::number_of_executed_units: (\d+)", said)[-1])
        edges = max([edges, *map(int, re.findall(r" cov: (\d+)", said))])
        found += re.findall(r"Test unit written to (\S+-(?:crash|oom)-\S+)", said)
    if found:
        print(said[said.find("=== Uncaught") :][:3000])
    return round(seconds), executions, edges, found


def run(target, seconds, folder):
    """libFuzzer by the clock -> what it said, seconds of the processor; what it learnt stays in the folder"""
    options = [*LIMITS, f"-max_total_time={1 + int(seconds)}", "-print_final_stats=1", f"-artifact_prefix={target}-"]
    command = [sys.executable, __file__, "--watch", target, *options, str(folder), str(CORPUS / target)]
    before = processor_seconds()
    said = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ).stdout
    if "stat::number_of_executed_units" not in said:
        sys.exit(f"{target}: the fuzzer did not run:\n{said[-2000:]}")
    return said, processor_seconds() - before


def processor_seconds():
    """Of all processes that were started and have ended, and of the system on their behalf."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def record(row):
    new = not RESULTS.exists()
    with open(RESULTS, "a", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        if new:
            table.writeheader()
        table.writerow(row)


def main():
    if sys.argv[1:2] == ["--watch"]:
        return watch(sys.argv[2], sys.argv[3:])
    targets = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*targets, []], metavar="TARGET", help=", ".join(targets))
    parser.add_argument("--minutes", type=float, default=10, help="for each target")
    asked = parser.parse_args()
    sys.path[:0] = [str(ROOT)]
    from ulmfit.provenance import commit, versions

    found = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for target in asked.targets or targets:
            seconds, executions, edges, findings = fuzz(target, asked.minutes, Path(folder))
            found += findings
            record({
                "target": target, "engine": f"atheris {version('atheris')}", "seconds": seconds,
                "executions": executions, "edges": edges, "findings": len(findings), "commit": commit(),
                "python": platform.python_version(), "processor": versions()["processor"],
            })  # fmt: skip
            print(f"{target:12} {executions:10,} executions {edges:6,} edges {len(findings)} findings", flush=True)
    if found:
        sys.exit(f"found: {', '.join(found)}; add them to tests/fuzz/corpus and mend what they show")


if __name__ == "__main__":
    main()
