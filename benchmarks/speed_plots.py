"""The plots of the benchmarks, drawn from the same rows as the tables. The only file here that needs matplotlib."""

from speed_tables import GROWTH_PLOT, chosen, growing
from tables import RESULTS


def draw():
    """Draw what there are rows for."""
    rows = chosen("lstm", "growth")
    if rows:
        draw_growth(growing(rows), RESULTS.parent / GROWTH_PLOT)


def draw_growth(measured, path):
    """{letter: {contender: (sizes, milliseconds)}} -> an SVG, the same bytes for the same numbers"""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for axes, (letter, contenders) in zip(figure.subplots(1, len(measured)), measured.items(), strict=True):
        for name, (sizes, milliseconds) in contenders.items():
            axes.loglog(sizes, milliseconds, marker="o", markersize=3, label=name)
        ticks = sorted({size for sizes, _ in contenders.values() for size in sizes})
        axes.set_xticks(ticks, map(str, ticks))
        axes.minorticks_off()
        axes.set_xlabel("I = H" if letter == "H" else letter)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("forward and backward, ms")
    figure.axes[0].legend(frameon=False, fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"svg.hashsalt": "minilstm", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
