"""One part of the check, in a process of its own: whatever happens here, what was measured before is on the disk.

    python benchmarks/gpu_part.py probe
    python benchmarks/gpu_part.py bench --csv FILE --run ID --until SECONDS

probe: is there a GPU, and which? The answer is a line of JSON, or the reason on stderr and exit code 2.
"""

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

if __name__ == "__main__":  # of an unpacked tree nothing is installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu_clock import Gpu, circumstances
from gpu_results import Journal
from workers import Refused


def main(arguments=None, device=Gpu):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["probe", "check", "train", "micro", "tests", "bench"])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--run", default="")
    parser.add_argument("--until", type=float, default=float("inf"), help="seconds since 1970")
    asked = parser.parse_args(arguments)
    try:
        gpu = device()
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    if asked.part == "probe":
        print(json.dumps(circumstances(gpu)))
        return 0
    with gpu.working():
        function(asked.part)(gpu, Journal(asked.csv, asked.run), asked.until)
    return 0


def function(part):
    """(gpu, journal, until) of a part; what one part needs is not imported for the others."""
    if part == "check":
        function = check
    elif part == "train":
        from gpu_train import train as function
    elif part == "micro":
        from gpu_micro import micro as function
    elif part == "tests":
        from gpu_tests import tests as function
    else:
        from gpu_bench import bench as function
    return function


def check(gpu, journal, until):
    """The rest of a training step, which is quick; sizes that are used, and that nobody uses; one again and again."""
    import gpu_correct
    import gpu_repeat
    import gpu_step_correct

    gpu_correct.say_who_is_missing(journal)
    gpu_step_correct.check(gpu, journal, until)
    gpu_correct.check(gpu, journal, until, [*gpu_correct.CASES, *gpu_correct.odd_cases()])
    gpu_repeat.check(gpu, journal, until)


def ends(function):
    """Call a function and end the process with what it returns, or says: at once, whatever other threads still do."""
    code = 1
    try:
        code = function()
    except SystemExit as ended:
        print(ended, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    ends(main)
