"""The README's table of what a run survives, made of results/torture.csv (`make torture`) and results/fuzz.csv."""

from pathlib import Path

from tables import NOT_YET, results, short

TESTS = {  # as in the file: what was done, in words
    "kills": "SIGKILL at random moments of whole runs: all stages, NumPy's and Numba's kernels, one direction and both",
    "damages": "the newest checkpoint cut off, emptied, overwritten, one bit flipped, lengthened, exchanged, missing",
    "full_disk": "the disk full just when something is saved",
    "inputs": "bad files, options, constants and models, on the command line and in programs",
    "strangers": "malicious pickles, archives, YAML, headers, tables, models, reports and links",
}
LEAST_MINUTES = 10  # of each fuzzer
CORPUS = Path(__file__).parents[1] / "tests" / "fuzz" / "corpus"  # a folder for each


def torture_table() -> str:
    rows = results("torture.csv")
    if not rows:
        return f"{NOT_YET} `make torture` measures."
    lines = ["| what is done to it | what came of it | promises |", "|---|---|---|"]
    for test, what in TESTS.items():
        some = [row for row in rows if row["test"] == test]
        measured = ", ".join(f"{float(row['measured']):,.6g} {row['number']}" for row in some) or "not measured yet"
        lines.append(f"| {what} | {measured} | {_kept(some)} |")
    lines.append(_fuzzing(results("fuzz.csv")))
    return "\n".join([*lines, "", _about(rows)])


def _kept(rows):
    if not rows:
        return "-"
    broken = [row["number"] for row in rows if row["kept"] != "True"]
    return f"**broken: {', '.join(broken)}**" if broken else "kept"


def _fuzzing(rows):
    """All runs of each fuzzer; a finding of an earlier run has become a test, those of the last one are left."""
    what = f"a coverage-guided fuzzer for each parser, at least {LEAST_MINUTES} minutes"
    if not rows:
        return f"| {what} | not measured yet | - |"
    last = {row["target"]: row for row in rows}
    minutes = {target: sum(float(r["seconds"]) for r in rows if r["target"] == target) / 60 for target in last}
    executions, left = sum(int(row["executions"]) for row in rows), sum(int(row["findings"]) for row in last.values())
    there_are = {path.name for path in CORPUS.iterdir()}
    enough = {target for target in there_are if minutes.get(target, 0) >= LEAST_MINUTES}
    measured = (
        f"{len(enough)} of {len(there_are)} targets so long, {executions:,} executions, {left} findings left"
    )
    return f"| {what} | {measured} | {'**broken**' if left else 'kept' if enough == there_are else 'so far'} |"


def _about(rows):
    """Where the numbers come from, in one line."""
    first = rows[0]
    commits = ", ".join(dict.fromkeys(short(row["commit"]) for row in rows))
    minutes = sum({row["test"]: float(row["seconds"]) for row in rows}.values()) / 60
    notes = "".join(f"; {note}" for note in dict.fromkeys(row["note"] for row in rows) if note)
    seeds = ", ".join(dict.fromkeys(row["seed"] for row in rows))
    return (
        f"{minutes:.0f} minutes, seed {seeds}; Python {first['python']}, NumPy {first['numpy']}, Numba "
        f"{first['numba']}, safetensors {first['safetensors']}, {first['processor']}; {first['date']}, commit "
        f"{commits}{notes}."
    )


TABLES = {"README.md": {"torture": torture_table}}
