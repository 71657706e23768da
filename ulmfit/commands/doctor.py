"""`ulmfit doctor`: what is installed, whether the shipped models are whole, and whether every kernel computes right."""

import json

import numpy as np

from minilstm.recurrence import plan_recurrence

from ..config import DIRECTIONS, SHIPPED
from ..devices import check_device
from ..errors import InputError
from ..model_files import MODEL
from ..pretrained import CARD, load_pretrained, model_folder, pretrained_sha256, read_card
from .machine import machine
from .self_test import try_kernels

MISSING = " is not installed: "  # as the kernels say it, with what to type behind it


def examine(console, device="cpu", *, as_json) -> bool:
    """Look at everything and print it -> whether everything that is available here works, a `device` to compute on
    being asked for among it."""
    found = {"machine": machine(), "models": [_look_at_model(direction) for direction in DIRECTIONS]}
    found["kernels"] = [kernel._asdict() for kernel in try_kernels()]
    faults = [f"{what[:-1]} {one['name']}" for what in ("models", "kernels") for one in found[what] if one["fault"]]
    try:
        check_device(device)
    except InputError as e:
        faults.append(str(e))
    chosen = plan_recurrence("auto", np.zeros(0, np.float32)).kernel
    if as_json:
        print(json.dumps({"works": not faults, "faults": faults, "chosen": chosen, **found}))
        return not faults
    console.print(_machine_table(found["machine"]))
    console.print(_models_table(found["models"]))
    console.print(_kernels_table(found["kernels"]))
    for package, remedy in _missing(found["kernels"]).items():
        console.print(f"{package}{MISSING}{remedy}", highlight=False, markup=False, soft_wrap=True)
    works = f"Everything that is available here works. Layers on the CPU compute with {chosen!r}."
    said = f"Not in order: {', '.join(faults)}." if faults else works
    console.print(said, highlight=False, markup=False)
    return not faults


def _look_at_model(direction) -> dict:
    """A shipped model: read, its own checksums checked, and compared with its card."""
    try:
        model, vocab = load_pretrained(SHIPPED, direction)
        folder = model_folder(SHIPPED, direction)
        if pretrained_sha256(SHIPPED, direction) != read_card(folder)["file_sha256"]:
            raise InputError(f"{folder / MODEL}: is not the file that {CARD} describes; install minilstm anew")
    except (InputError, OSError, ValueError, KeyError) as e:
        return {"name": direction, "fault": str(e) or type(e).__name__, "about": None}
    parameters = sum(p.size for p in model.params.values())
    return {"name": direction, "fault": None, "about": f"{parameters:,} parameters, {len(vocab):,} words, verified"}


# --- for people ------------------------------------------------------------------------------------------------------


def _machine_table(found):
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "here", title="This machine")
    for name, words in found.items():
        absent = "none found" if name in ("NVIDIA driver", "GPU") else "not installed"
        table.add_row(name, Text(words or absent))
    return table


def _models_table(models):
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "is it whole?", title="Shipped models")
    for model in models:
        table.add_row(model["name"], Text(f"NO: {model['fault']}" if model["fault"] else f"yes: {model['about']}"))
    return table


def _missing(kernels) -> dict:
    """Package -> how to install it, once for all the kernels that lack it."""
    reasons = [k["reason"].partition(MISSING) for k in reversed(kernels) if MISSING in (k["reason"] or "")]
    return {package: remedy for package, _, remedy in reasons}


def _kernels_table(kernels):
    from rich.table import Table
    from rich.text import Text

    table = Table("kernel", "device", "can it run here?", title="Kernels")
    for column in ("largest error", "ms"):
        table.add_column(column, justify="right")
    for k in kernels:
        package, missing, _ = (k["reason"] or "").partition(MISSING)
        answer = "yes" if k["reason"] is None else "no: " + (f"{package} is not installed" if missing else package)
        error = "" if k["error"] is None else f"{k['error']:.0e}"
        milliseconds = "" if k["milliseconds"] is None else f"{k['milliseconds']:.3g}"
        table.add_row(k["name"], k["device"], Text(f"IT FAILS: {k['fault']}" if k["fault"] else answer), error,
                      milliseconds)  # fmt: skip
    table.caption = "A layer of 48 units, 8 texts of up to 20 steps, forward and backward in float32."
    return table
