"""The plot of a GPU's results: for each H our time over that of cuDNN's best, over the batch size."""

from gpu_rows import files, ratios, runs
from tables import RESULTS


def plot_name(gpu):
    from gpu_results import file_name

    return file_name(gpu).removesuffix(".csv") + ".svg"


def draw():
    """One for each GPU that there are results of."""
    for rows in files().values():
        if ratios(rows) and runs(rows):
            draw_ratios(lines(rows), RESULTS / "plots" / plot_name(runs(rows)[0]["gpu"]))


def lines(rows) -> dict:
    """{H: {(precision, layers): ([B, ...], [ratio of training, ...])}}"""
    found = {}
    for key, value in sorted(ratios(rows).items(), key=lambda item: item[0]["B"]):
        if key.mode == "full":
            B, y = found.setdefault(key["H"], {}).setdefault((key.precision, key["layers"]), ([], []))
            B.append(key["B"]), y.append(value)
    return dict(sorted(found.items()))


def draw_ratios(found, path):
    """-> an SVG, the same bytes for the same numbers"""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3), layout="constrained")
    colours = {name: f"C{n}" for n, name in enumerate(("float32", "bfloat16", "float16", "tf32"))}
    for axes, (H, of) in zip(figure.subplots(1, len(found), sharey=True, squeeze=False)[0], found.items(), strict=True):
        for (precision, layers), (B, y) in of.items():
            style = "-" if layers == 1 else "--"
            axes.loglog(B, y, style, marker="o", markersize=3, color=colours[precision], label=f"{precision}, {layers}")
        ticks = sorted({b for B, _ in of.values() for b in B})
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_xlabel("B")
        axes.set_title(f"H = {H}", fontsize="medium")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("training: time over cuDNN's best")
    figure.axes[0].legend(frameon=False, fontsize="x-small", title="precision, layers", title_fontsize="x-small")
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "minilstm", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
