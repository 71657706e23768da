"""Everything that is to be known of the kernels on a GPU, in one command and a limited time.

    make gpu-check OUT=dir                       all parts, in some eight minutes
    make gpu-check OUT=dir PARTS=check,bench     some of them
    python benchmarks/gpu_check.py --out dir [--parts check,bench] [--minutes 8]

It needs NumPy, CuPy and PyTorch with CUDA, and nothing of the project has to be installed. In dir are then a CSV file
named after the GPU (its columns: gpu_results.py), log.txt and summary.md. Each measurement is on the disk as soon as it
is made, the most important first; the same command once more goes on where the last one ended. Exit code: 0, all was
well; 1, a check failed, or could not be made in time; 2, there is no GPU.

    check    every kernel for a GPU, in every precision, against the plain version on the CPU
    train    a few steps of ulmfit's three stages, beside the CPU's
    micro    what the GPU can do: copies, products, launches; and the gates beside it
    tests    the tests that are marked `gpu`
    bench    LSTMs of ours beside PyTorch's and cuDNN's
"""

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from gpu_cells import SHARES, deadlines
from gpu_results import CRASHED, Journal, end_group, failed, file_name, planned, read, row

PART = [sys.executable, str(Path(__file__).with_name("gpu_part.py"))]
SILENCE = 60  # seconds without a sign of life, after which a process is taken to hang
MARGIN = 10  # seconds after a part's deadline: it ends by itself, between two measurements
LOOK, EVERY = 0.1, 30  # seconds between two looks at a process, and between two summaries
MOST_STARTS, MOST_IDLE = 12, 2  # of a part's process; after it ended between two measurements
PROBE = 90  # seconds within which the device answers


def main(arguments=None, command=PART):
    asked = options(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    try:
        probe = subprocess.run([*command, "probe"], capture_output=True, text=True, timeout=PROBE)
    except subprocess.TimeoutExpired:
        print(f"gpu-check: nothing can be measured here: the device has not answered for {PROBE} s", file=sys.stderr)
        return 2
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"gpu-check: nothing can be measured here: {reason}", file=sys.stderr)
        return 2
    about = json.loads(probe.stdout.strip().splitlines()[-1])
    path = asked.out / file_name(about["gpu"])
    stranger = not_of(path, about)
    if stranger:
        print(f"gpu-check: {path} was measured with {stranger}: name another folder with OUT=", file=sys.stderr)
        return 2
    run = datetime.now(UTC).isoformat(timespec="seconds")
    Journal(path, run).write([row("run", "run", about["gpu"], note=json.dumps(about))])
    with open(asked.out / "log.txt", "a", encoding="utf-8") as log:
        say(log, f"{run}: {json.dumps(about)}")
        until = deadlines(asked.parts, 60 * asked.minutes - MARGIN, began)
        summary = partial(summarise, path, asked.out, log)
        try:
            for part, deadline in until.items():
                go_on(part, command, Journal(path, run), deadline, log, summary)
        except KeyboardInterrupt:
            say(log, "interrupted: what was measured stays, and the same command goes on")
            return 130
        finally:
            summary()
    return int(not all_was_well(read(path), asked.parts))


def all_was_well(rows, parts):
    """Nothing failed, and every check that there was to be has a result, or a reason why not."""
    there_are, missing = planned(rows)
    return not any(map(failed, rows)) and ("check" not in parts or there_are > 0 and missing == 0)


def options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--parts", type=parts, default=list(SHARES), metavar="NAME,NAME", help="default: all")
    parser.add_argument("--minutes", type=float, default=500 / 60, help="for everything (default: %(default).1f)")
    asked = parser.parse_args(arguments)
    if not asked.minutes > MARGIN / 60:
        parser.error(f"--minutes: expected more than {MARGIN / 60:.2g}, got {asked.minutes:g}")
    return asked


def parts(text):
    """"bench,check" -> those, in the order in which they are done"""
    names = text.split(",")
    unknown = [name for name in names if name not in SHARES]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(SHARES)} are known, not {', '.join(map(repr, unknown))}")
    return [name for name in SHARES if name in names]


def not_of(path, about) -> str | None:
    """In what the circumstances of a file's rows differ from these, or None: rows of one file can be compared."""
    for found in read(path):
        if found["part"] == "run":
            then = json.loads(found["note"])
            for name in ("gpu", "driver", "cudnn", "torch", "cupy", "commit"):
                if then.get(name) != about.get(name):
                    return f"{name} {then.get(name)}, and this is {about.get(name)}"
    return None


def go_on(part, command, journal, deadline, log, summary):
    """Start a part's process, and start it anew when it dies or hangs, without what it was doing then."""
    path, doing = journal.path, journal.doing_path
    command, idle = [*command, part, "--csv", str(path), "--run", journal.run, "--until", f"{deadline:.3f}"], 0
    for _ in range(MOST_STARTS):
        left = deadline - time.time()
        if left < 1:
            say(log, f"{part}: its time is up")
            return
        doing.unlink(missing_ok=True)
        say(log, f"{part}: starts, with {left:.0f} s left")
        how = watch(command, (path, doing), deadline, log, summary)
        if how is None:
            say(log, f"{part}: done")
            return
        was = journal.was_doing()
        say(log, f"{part}: its process {how}" + (f" at {json.dumps(was)}" if was else ""))
        idle += was is None
        if idle > MOST_IDLE or how == LATE:
            return
        if was and was.get("kernel_name"):
            was.pop("at")
            Journal(path, journal.run).write([row(part, note=f"{CRASHED} {how}", **was)])


LATE = "was ended when the time was up"


def watch(command, signs, deadline, log, summary):
    """Run a process -> None when all was well, else what became of it. signs: files that show that it is alive; a
    summary is made now and then, so that there is one whoever ends this."""
    process, began = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True), time.time()
    summarised = began
    try:
        while process.poll() is None:
            time.sleep(LOOK)
            now, seen = time.time(), max(began, *map(touched, signs))
            if now > deadline + MARGIN / 2:
                return LATE
            if now - seen > SILENCE:
                return f"was silent for {SILENCE} s"
            if now - summarised > EVERY:
                summary()
                summarised = time.time()
    finally:
        end_group(process)
    return None if process.returncode == 0 else f"ended (exit code {process.returncode})"


def touched(path):
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def summarise(path, out, log):
    """summary.md of what there is so far. That it cannot be written must not end the measuring."""
    try:
        from gpu_summary import summary

        (out / "summary.md").write_text(summary(read(path)), encoding="utf-8")
    except Exception as error:
        say(log, f"summary.md could not be written: {type(error).__name__}: {error}")


def say(log, text):
    print(text, flush=True)
    log.write(f"{text}\n")
    log.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # of an unpacked tree nothing is installed
    sys.exit(main())
