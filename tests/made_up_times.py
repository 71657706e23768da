"""Tables like kernels/gpu_times.csv, of measurements that nobody made: for the tests of what "auto" takes on a GPU, and
never committed."""

import csv

from minilstm_kernels.gpu_choice import COLUMNS

GPU = "Stand-in"    # as cupy_on_cpu.py has it


def write(path, times, gpu=GPU):
    """times: {(kernel, B, H): microseconds of a step}, or of (kernel, B, H, precision, mode)"""
    with open(path, "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f)
        out.writerow(COLUMNS)
        for (kernel, B, H, *what), microseconds in times.items():
            out.writerow((gpu, kernel, *(what or ("float32", "full")), B, H, microseconds, "0123456789"))
    return path
