"""summary.md beside the measurements: what is well, what is not, and all tables. Made anew after each part."""

from importlib import import_module

from gpu_predictions import floors_table
from gpu_results import failed, planned
from gpu_rows import fastest, medians, remarks, runs
from gpu_tables import about, cells_table, gates_table, summary_table, targets_table
from speed_tables import digits, table

from minilstm.twins import registry


def summary(rows) -> str:
    gpu = runs(rows)[0]["gpu"] if runs(rows) else "?"
    return "\n\n".join([
        f"# {gpu}", about(rows), "## Checks", checks(rows), "## Targets", targets_table(rows),
        "## LSTMs beside cuDNN", summary_table(rows), cells_table(rows), "## Times", times_table(rows),
        "## Steps of the loop", floors_table(rows),
        "## Layers side by side", waves_table(rows), "## Gates", gates_table(rows), "## Left out", left_out(rows),
    ]) + "\n"  # fmt: skip


def checks(rows) -> str:
    """How many of those that were planned were passed, and each that was not."""
    lines, (there_are, missing) = [], planned(rows)
    for part in ("check", "tests"):
        mine = [row for row in rows if row["part"] == part and (row["y_50"] or failed(row))]
        wrong = list(filter(failed, mine))
        of = max(there_are, len(mine)) if part == "check" else len(mine)
        lines.append(f"- {part}: {len(mine) - len(wrong)} of {of} are well")
        if part == "check" and missing:
            lines[-1] += f"; {missing} were not made"
        lines += [f"  - {row['provider']}, {row['precision']}, {row['shape']}: {row['note'][:300]}" for row in wrong]
    return "\n".join(lines)


def times_table(rows) -> str:
    """Milliseconds of every cell that was measured: ours, PyTorch as it is, and cuDNN's best with its name."""
    lines = []
    for key, times in medians(rows, "lstm").items():
        ours, theirs = fastest(times, rivals=False), fastest(times, rivals=True)
        sizes = ", ".join(str(key[name]) for name in ("layers", "B", "H"))
        named = [f"{digits(best[1])} ({best[0]})" if best else "-" for best in (ours, theirs)]
        lines.append([key.precision, key.mode, sizes, named[0], digits(times.get("torch")), named[1]])
    return "\n".join(table(["precision", "mode", "layers, B, H", "ours, ms", "torch, ms", "cuDNN's best, ms"], lines))


def waves_table(rows) -> str:
    """What it gains to have the layers of a stack side by side, and what it would if nobody were in another's way."""
    makespan = import_module(f"{registry()[0].__name__}.wavefront_plan").makespan
    lines = []
    for key, times in medians(rows, "lstm").items():
        sizes = ", ".join(str(key[name]) for name in ("layers", "B", "H"))
        for provider, ms in times.items():
            name, _, pieces = provider.partition("-wave")
            if pieces and name in times:
                best = makespan([[1 / key["layers"] / int(pieces)] * int(pieces)] * key["layers"])
                parts = [f"{100 * part:.0f} %" for part in (ms / times[name], best)]
                lines.append([key.precision, key.mode, sizes, name, pieces, digits(times[name]), digits(ms), *parts])
    heads = ["precision", "mode", "layers, B, H", "kernel", "pieces", "in turn, ms", "side by side, ms"]
    return "\n".join(table([*heads, "part", "at best"], lines))


def left_out(rows) -> str:
    """Why somebody was not timed, and how often that was so."""
    count = {}
    for row in (row for row in remarks(rows) if not row["y_50"]):
        reason = row["provider"], row["note"][:200]
        count[reason] = count.get(reason, 0) + 1
    return "\n".join(f"- {provider}, {n} times: {note}" for (provider, note), n in count.items()) or "Nobody."
