"""Bugs planted in the text of a .cu file, one at a time, by rules that know nothing of what it computes.

`python cuda_mutants.py MODULE i n` plants each n-th bug of MODULE.CODE, from the i-th on, and prints what became of it;
MODULE is a helper of the tests of one .cu file, with NAMES of kernels and check_all, a function that a bug is to fail.
"""

import importlib
import json
import os
import re
import signal
import sys

# what it is called, where it can be planted, what is written there
RULES = [
    ("a barrier is missing", r"__syncthreads\(\);|__syncwarp\(\);", ""),
    ("a guard is missing", r"if \([^;{}]*\) return;", ""),
    ("< is <=", r" < ", " <= "),
    ("< is >=", r" < ", " >= "),
    (">= is >", r" >= ", " > "),
    ("+ is -", r" \+ ", " - "),
    ("- is +", r" - ", " + "),
    ("* is +", r" \* ", " + "),
    ("/ is *", r" / ", " * "),
    ("+= is -=", r" \+= ", " -= "),
    ("-= is +=", r" -= ", " += "),
    ("*= is =", r" \*= ", " = "),
    ("^ is +", r" \^ ", " + "),
    ("& is |", r" & ", " | "),
    ("&& is ||", r" && ", " || "),
    ("max is min", r"\bmax\(", "min("),
    ("an index is one too large", r"(?<!auto )(?<!auto& )\[(?!4\]|32\]|&)([^][]+)\]", r"[\1 + 1]"),    # [4] is a size
    ("i is f", r"\.i\b", ".f"),
    ("f is i", r"(?<!\d)\.f\b", ".i"),
    ("g is o", r"\.g\b", ".o"),
    ("o is g", r"\.o\b", ".g"),
    ("sigmoid is tanh", r"\bsigmoid\((?!A x)", "tanh("),
    ("tanh is sigmoid", r"\btanh\(", "sigmoid("),
    ("1 is 2", r"\b1\b", "2"),
    ("0 is 1", r"\b0\b(?!\.)", "1"),
    ("2 is 1", r"\b2\b", "1"),
    ("3 is 2", r"\b3\b", "2"),
    ("4 is 3", r"\b4\b", "3"),
    ("16 is 15", r"\b16\b", "15"),
    ("32 is 16", r"\b32\b(?!\])", "16"),
    ("a choice is turned round", r"\? ([^:;()]+) : ([^;,()]+)(?=[;,)])", r"? \2 : \1"),
    ("the state before is the state after", r"\b([ch])_prev\b(?=[ \[])", r"\1"),
    ("the state after is the state before", r"(?<=[\w<>]\()c( \+ unit\)|\[unit\]\))", r"c_prev\1"),
]
# An array that is longer than it need be is no bug.
ARRAY = re.compile(r" +(struct \w+ \{ )?(\w+(<[^=]*>)?(::\w+)? )+\w+\[[^][]*\](\[[^][]*\])?( = \{\})?[,;]")
LONGER = "an index is one too large", "1 is 2", "/ is *"
# Nobody is looking over an array's end here, nor at addresses that only a GPU refuses, so the processor does; no
# library is needed for that.
FLAGS = ("-O0", "-fsanitize=bounds-strict,alignment", "-fsanitize-undefined-trap-on-error")
SECONDS = 20    # for a bug after which the kernel runs for ever


def mutants(code):
    """-> (description, the text with one bug) for every rule and every place"""
    for start, line in _statements(code):
        statement = line.partition("//")[0]
        for what, pattern, replacement in RULES:
            if what in LONGER and ARRAY.match(statement):
                continue
            for match in re.finditer(pattern, statement):
                bug = match.expand(replacement)
                number = code.count("\n", 0, start) + 1
                here = f"line {number}: {what}: {statement[:match.start()].strip()} >>{bug}<< {statement[match.end():]}"
                yield here, code[: start + match.start()] + bug + code[start + match.end() :]


def _statements(code):
    """-> (where it begins, line) for every line of a function's body"""
    start = 0
    for line in for_gxx(code).splitlines(keepends=True):
        is_parameter = re.match(r" +(const )?(arithmetic|int\*|S\*)", line)
        if line.startswith("  ") and not is_parameter and "using" not in line:
            yield start, line
        start += len(line)


def for_gxx(code):
    """The text with blanks for what only CUDA's compilers see: nothing that is executed on the CPU."""
    hidden = r"(?<=#ifdef __CUDACC__\n)(^#if.*?^#endif|.)*?(?=^#(else|endif))"
    return re.sub(hidden, lambda part: re.sub(".", " ", part[0]), code, flags=re.DOTALL | re.MULTILINE)


def fate(module, code):
    """What becomes of a text with a bug: "caught", "survived", or "refused" by the compiler."""
    from cuda_on_cpu import RawModule

    try:
        kernels = RawModule(code=code, name_expressions=module.NAMES_FOR_BUGS, flags=FLAGS,
                            enable_cooperative_groups=getattr(module, "COOPERATIVE", False)).get_function  # fmt: skip
    except RuntimeError:
        return "refused"
    child = os.fork()    # which may crash, or run for ever
    if child == 0:
        signal.alarm(SECONDS)
        try:
            module.check_bugs(kernels)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return "caught" if os.waitpid(child, 0)[1] else "survived"


def main(name, first, step):
    module = importlib.import_module(name)
    assert fate(module, module.CODE) == "survived", "the text without a bug"
    for k, (what, code) in enumerate(mutants(module.CODE)):
        if k % int(step) == int(first):
            print(json.dumps([fate(module, code), what]), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
