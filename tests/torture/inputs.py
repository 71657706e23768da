"""What users get wrong, on the command line and in programs: the cases that the tests have, each in its own folder. It
has to be one line on standard error, exit code 2, the place and the remedy in it; in a program, an InputError."""

import contextlib
import os
import time

import bad_files
import bad_options
from bad_files import Place
from cli_helpers import make_data, train, ulmfit

from ulmfit.errors import InputError

from .promises import Number, none_of

FOR_OTHERS = "no rights"  # the superuser may read and write everything


def torture(folder, rng, size, tell) -> list[Number]:
    """All cases (`size`: how many there should be at least) -> what came of them"""
    data, run = make_data(folder), folder / "run"
    answer = train(data, run)
    assert answer.code == 0, answer.err
    cases = {(kind, name): make for module in (bad_files, bad_options)
             for kind, some in module.CASES.items() for name, make in some.items()}  # fmt: skip
    typed, called, faults, last = 0, 0, [], time.monotonic()
    for n, ((kind, name), make) in enumerate(cases.items()):
        if name == FOR_OTHERS and os.geteuid() == 0:
            continue
        (own := folder / f"case-{n}").mkdir()
        with contextlib.chdir(own):
            mistake = make(Place(own, data, run))
            found = [on_the_command_line(mistake), mistake.call and in_a_program(mistake)]
        typed, called = typed + 1, called + (mistake.call is not None)
        for fault in filter(None, found):
            faults.append(fault)
            tell(f"{kind}, {name}: {fault}")
        if time.monotonic() - last > 10:
            last = time.monotonic()
            tell(f"{n + 1} of {len(cases)} cases, {len(faults)} faults")
    of = {word: sum(fault.startswith(word) for fault in faults) for word in ("traceback", "unclear", "accepted")}
    return [
        Number("bad inputs on the command line", typed, at_least=size),
        Number("of them in a program, too", called),
        none_of("tracebacks", of["traceback"]),
        none_of("accepted", of["accepted"]),
        none_of("not in one line with place and remedy", of["unclear"]),
    ]


def on_the_command_line(mistake) -> str | None:
    """What is wrong with the answer, in words."""
    answer = ulmfit(*mistake.arguments, stdin=mistake.stdin)
    if "Traceback" in answer.out + answer.err or "internal error" in answer.err:
        return f"traceback: {answer.err}"
    if answer.code == 0:
        return "accepted on the command line"
    one_line = answer.err.startswith("error: ") and answer.err.count("\n") == 1
    return None if one_line and answer.code == 2 and _says_all(answer.err, mistake) else f"unclear: {answer.err}"


def in_a_program(mistake) -> str | None:
    try:
        mistake.call()
    except InputError as e:
        return None if "\n" not in str(e) and _says_all(str(e), mistake) else f"unclear in a program: {e}"
    except Exception as e:
        return f"traceback in a program: {type(e).__name__}: {e}"
    return "accepted in a program"


def _says_all(message, mistake) -> bool:
    return all(str(part) in message for part in mistake.parts)
