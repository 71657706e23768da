"""The READMEs' tables about speed, each made of the rows that a benchmark has written (speed_rows.py)."""

import json
import math
import statistics

from tables import NOT_YET, results, short

LADDER = ("reference", "cpu-gates", "cpu-packed", "cpu", "torch", "torch.compile", "torch-lean", "floor")
OURS, RIVAL = "cpu", "torch"
GROWTH_PLOT = "results/plots/growth.svg"


def chosen(name, kernel_name, metric="milliseconds"):
    return [row for row in results(f"{name}.csv") if (row["kernel_name"], row["metric"]) == (kernel_name, metric)]


def shape_of(row):
    return tuple(json.loads(row["shape"]).items())


def sizes(shape):
    return ", ".join(str(size) for _, size in shape)


def by_key(rows):
    """{(shape, mode, provider): median}"""
    return {(shape_of(row), row["mode"], row["provider"]): float(row["y_50"]) for row in rows}


def different(values):
    return list(dict.fromkeys(values))


def providers(rows):
    """Those that were measured, in the order of the ladder."""
    found = {row["provider"] for row in rows}
    return [name for name in LADDER if name in found] + sorted(found - set(LADDER))


def digits(value):
    """Three digits, and never an exponent; "-" for what was not measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def ratio(a, b):
    return None if a is None or b is None else a / b


def shown(value):
    return "-" if value is None else f"{value:.2f}"


def table(heads, lines):
    return ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|", *("| " + " | ".join(x) + " |" for x in lines)]


def about(rows):
    """Where the numbers come from: all that differs between rows is listed."""
    config = different(row["extra_config_json"] for row in rows)
    threads = ", ".join(f"{json.loads(c)['threads']} threads, {json.loads(c)['dtype']}" for c in config)
    said = [threads]
    said += [", ".join(different(row[name].split(",")[0] if name == "blas" else row[name] for row in rows))
             for name in ("device", "versions", "blas")]  # fmt: skip
    commits = ", ".join(different(short(row["commit"]) for row in rows))
    load = max((row["load"] for row in rows), key=lambda load: float(load or 0))
    return f"{'; '.join(said)}; commit {commits}. Other processes that ran at the start: {load or 'not known'}."


def spread(rows):
    """How far the 20 and 80 % percentiles are from the medians at most, as a part of them."""
    measured = ([float(row[y]) for y in ("y_20", "y_50", "y_80")] for row in rows)
    return max(max(p80 / p50 - 1, 1 - p20 / p50) for p20, p50, p80 in measured)


def turns(rows):
    return (
        "Medians of calls in turns, every contender in a process of its own "
        f"(20 and 80 % percentiles: at most {100 * spread(rows):.0f} % away)"
    )


# --- an LSTM layer ----------------------------------------------------------------------------------------------------


def lstm_table() -> str:
    """Every contender at every shape and in every mode, and the geometric means of the ratios."""
    rows = chosen("lstm", "lstm")
    if not rows:
        return NOT_YET
    names, time, ratios = providers(rows), by_key(rows), {}
    modes, lines = different(row["mode"] for row in rows), []
    for shape in different(map(shape_of, rows)):
        for mode in modes:
            found = [time.get((shape, mode, name)) for name in names]
            ours = time.get((shape, mode, OURS))
            to = [ratio(ours, time.get((shape, mode, other))) for other in (RIVAL, "floor")]
            for other, value in zip((RIVAL, "floor"), to, strict=True):
                ratios.setdefault((mode, other), []).append(value)
            lines.append([sizes(shape), mode, *map(digits, found), *map(shown, to)])
    for mode in modes:
        means = [mean_ratio(ratios[mode, other]) for other in (RIVAL, "floor")]
        lines.append(["**geometric mean**", mode, *[""] * len(names), *(f"**{shown(value)}**" for value in means)])
    heads = ["T, B, I, H", "mode", *names, f"{OURS} / {RIVAL}", f"{OURS} / floor"]
    return "\n".join([*table(heads, lines), "", f"Milliseconds a call. {turns(rows)}. {floor_note()} {about(rows)}"])


def mean_ratio(values):
    """The geometric mean; None unless every shape has a ratio."""
    return None if None in values or not values else statistics.geometric_mean(values)


def floor_note():
    """The measured rates behind the floor."""

    named = {"reference": "NumPy", OURS: OURS, RIVAL: RIVAL}
    products = chosen("lstm", "product", "GFLOP/s")
    rates = ", ".join(f"{named[row['provider']]} {float(row['y_50']):.0f}" for row in products)
    reads = chosen("lstm", "read", "GB/s")
    largest = max((dict(shape_of(row))["H"] for row in reads), default=0)
    fastest = max((float(row["y_50"]) for row in reads if dict(shape_of(row))["H"] == largest), default=0)
    return (
        f"The floor is made of products at the best rate measured ({rates} GFLOP/s), and of reading "
        f"weight_hh at every step ({fastest:.0f} GB/s at H = {largest})."
    )


def speed_table() -> str:
    """The short form: torch's times, ours, and the ratios."""
    rows = chosen("lstm", "lstm")
    if not rows:
        return NOT_YET
    time, lines = by_key(rows), []
    for shape in different(map(shape_of, rows)):
        ours, torch, floor = (
            [time.get((shape, mode, name)) for mode in ("forward", "full")] for name in (OURS, RIVAL, "floor")
        )
        cells = [", ".join(map(digits, values)) for values in (torch, ours)]
        cells += [", ".join(map(shown, map(ratio, ours, others))) for others in (torch, floor)]
        lines.append([sizes(shape), *cells])
    heads = ["T, B, I, H", f"{RIVAL}: forward, with backward", OURS, f"{OURS} / {RIVAL}", f"{OURS} / floor"]
    return "\n".join([*table(heads, lines), "", f"Milliseconds a call. {turns(rows)}. {about(rows)}"])


# --- growth -----------------------------------------------------------------------------------------------------------


def growing(rows) -> dict:
    """{"T" or "B" or "H": {provider: ([size, ...], [ms, ...])}}, of shapes that differ in that alone"""
    time, shapes = by_key(rows), different(map(shape_of, rows))
    found = {}
    for letter in "TBH":
        alike, grow = {}, "IH" if letter == "H" else letter
        for shape in shapes:
            alike.setdefault(tuple(item for item in shape if item[0] not in grow), []).append(shape)
        line = sorted(max(alike.values(), key=len), key=lambda shape: dict(shape)[letter])
        for name in providers(rows):
            points = [(dict(s)[letter], time[s, "full", name]) for s in line if (s, "full", name) in time]
            found.setdefault(letter, {})[name] = tuple(zip(*points, strict=True))
    return found


def exponent(n, ms):
    """p of the power n**p that fits best: least squares between the logarithms"""
    x, y = [math.log(v) for v in n], [math.log(v) for v in ms]
    return statistics.linear_regression(x, y).slope


def growth_table() -> str:
    """How the time grows with each size."""
    rows = chosen("lstm", "growth")
    if not rows:
        return NOT_YET
    lines = []
    for letter, measured in growing(rows).items():
        for name, (n, ms) in measured.items():
            shown_sizes = ", ".join(map(str, n))
            size = f"I = H = {shown_sizes}" if letter == "H" else f"{letter} = {shown_sizes}"
            power = f"{letter}^{exponent(n, ms):.2f}" if len(n) > 1 else "-"
            lines.append([size, name, ", ".join(map(digits, ms)), power])
    shapes = [dict(shape) for shape in different(map(shape_of, rows))]
    middle = ", ".join(str(statistics.mode(shape[letter] for shape in shapes)) for letter in "TBIH")
    middle = f"The other sizes are those of T, B, I, H = {middle}; forward with backward."
    picture = f"![time over T, B and H, on logarithmic axes](../benchmarks/{GROWTH_PLOT})"
    text = table(["size", "contender", "milliseconds", "grows as"], lines)
    return "\n".join([*text, "", picture, "", f"{middle} {turns(rows)}. {about(rows)}"])


# --- a training step, and the gates alone -----------------------------------------------------------------------------


def lm_step_table() -> str:
    """A training step of a language model: time, words a second and memory, each beside torch's."""
    rows = chosen("lm_step", "lm_step")
    if not rows:
        return NOT_YET
    metrics = ("milliseconds", "words/s", "peak MB")
    metrics = {metric: by_key(chosen("lm_step", "lm_step", metric)) for metric in metrics}
    lines = []
    for shape in different(map(shape_of, rows)):
        of_torch = {metric: values.get((shape, "step", RIVAL)) for metric, values in metrics.items()}
        for name in providers(rows):
            found = {metric: values.get((shape, "step", name)) for metric, values in metrics.items()}
            cells = [digits(found["milliseconds"]), shown(ratio(found["milliseconds"], of_torch["milliseconds"]))]
            cells += [digits(found["words/s"]), digits(found["peak MB"])]
            size = dict(shape)
            lines.append([f"{size['V']:,}", name, *cells, shown(ratio(found["peak MB"], of_torch["peak MB"]))])
    heads = ["V", "contender", "milliseconds a step", "to torch", "words/s", "peak MB", "to torch"]
    size = dict(shape_of(rows[0]))
    what = (
        f"{size['layers']} layers of {size['embedding']} and {size['hidden']}, T = {size['T']}, B = {size['B']}; "
        "torch.compile: everything but the LSTM compiled, and a fused Adam; torch-lean: a fused Adam and the chunked "
        "linear_cross_entropy. Memory is that of the whole process"
    )
    return "\n".join([*table(heads, lines), "", f"{what}. {turns(rows)}. {about(rows)}"])


def gates_table() -> str:
    """Nanoseconds per unit of the gates of a step."""
    rows = chosen("gates", "gates")
    if not rows:
        return NOT_YET
    names, time, lines = providers(rows), by_key(rows), []
    for shape in different(map(shape_of, rows)):
        units = dict(shape)["B"] * dict(shape)["H"]
        cells = []
        for name in names:
            pair = (time.get((shape, mode, name)) for mode in ("forward", "full"))
            cells.append(", ".join("-" if ms is None else digits(1e6 * ms / units) for ms in pair))
        lines.append([sizes(shape), *cells])
    heads = ["B, H", *(f"{name}: forward, with backward" for name in names)]
    what = "Nanoseconds per unit, a number of h; cpu-gates on one thread, the others on as many as they like."
    return "\n".join([*table(heads, lines), "", f"{what} {turns(rows)}. {about(rows)}"])


TABLES = {
    "README.md": {"speed": speed_table},
    "kernels/README.md": {"lstm": lstm_table, "growth": growth_table, "gates": gates_table, "lm_step": lm_step_table},
}
