"""The experiments behind the default recipe: variants of it on TREC-6, by their error on the validation split.

    python benchmarks/bench_choices.py --data-dir DIR --seeds 1 2 3 --jobs 2

fine-tunes the shipped forward model and trains a classifier for every variant and seed, and writes one row each to
benchmarks/results/choices.csv; what is there already, of the same shipped model, is not measured again. The seed
decides the validation split as well, and is the same for all variants. The test set is never looked at.

A row's last column is its recipe as JSON. A row without one replays from its commit, variant and seed.
"""

import argparse
import csv
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from ulmfit.pretrained import pretrained_sha256

RESULTS = Path(__file__).parent / "results" / "choices.csv"
COLUMNS = ("variant", "changes", "seed", "validation_error", "finetune_perplexity", "model_sha256", "commit", "config")

VARIANTS = {  # what differs from the recipe `laptop`, as --set takes it
    "laptop, the default": (),
    "two steps of unfreezing, as in the scripts": ("classify.unfreezing=two_step",),
    "no gradual unfreezing": ("classify.unfreezing=full",),
    "one rate for all layers": ("classify.lr_factor=1",),
    "the paper's dropouts in the classifier": (
        "classify.dropouts.embedding=0.05", "classify.dropouts.input=0.4", "classify.dropouts.weight=0.5",
        "classify.dropouts.hidden=0.3",
    ),
    "15 epochs of classifier": ("classify.epochs=15",),
    "AR and TAR, as in the paper": ("finetune.ar=2", "finetune.tar=1", "classify.ar=2", "classify.tar=1"),
    "the scripts' beta": ("finetune.betas=[0.8, 0.99]", "classify.betas=[0.8, 0.99]"),
    "all words of the task known": ("task_min_freq=1",),
    "no fine-tuning of the language model": ("finetune.steps=1",),
}  # fmt: skip


def measure(variants, seed, data_dir) -> list[dict]:
    """One row for each of some variants that fine-tune the language model alike, so once will do."""
    from ulmfit.config_files import change_recipe
    from ulmfit.datasets import load_dataset
    from ulmfit.pipeline import Stage, classify, finetune
    from ulmfit.pretrained import load_pretrained
    from ulmfit.progress import Silent
    from ulmfit.provenance import commit
    from ulmfit.recipes import LAPTOP
    from ulmfit.run_dir import RunDirectory

    recipes = {variant: change_recipe(LAPTOP, VARIANTS[variant]) for variant in variants}
    dataset = load_dataset("trec6", data_dir=data_dir, seed=seed)
    model, vocab = load_pretrained("shipped", "forward")
    came_from = {"model_sha256": pretrained_sha256("shipped", "forward"), "commit": commit()}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(folder)
        stage = Stage(run, "finetune", Silent())
        texts, valid_texts = dataset.corpus, dataset.valid.texts
        first = recipes[variants[0]]
        model, vocab, tuned = finetune(
            stage, model, vocab, texts, first, seed, "forward", valid_texts=valid_texts
        )
        for n, (variant, recipe) in enumerate(recipes.items()):
            stage = Stage(run, f"classify-{n}", Silent())
            _, _, report = classify(stage, model, vocab, dataset, recipe, seed, "forward")
            rows.append({
                "variant": variant, "changes": " ".join(VARIANTS[variant]), "seed": seed,
                "validation_error": round(report["validation_error"], 3),
                "finetune_perplexity": round(tuned["perplexity"], 2), **came_from,
                "config": json.dumps(asdict(recipe), separators=(",", ":")),
            })  # fmt: skip
    return rows


def groups(variants, done, seed):
    """The variants still to be measured with this seed, those together that differ in the classifier alone."""
    alike = {}
    for variant in variants:
        if (variant, str(seed)) not in done:
            key = tuple(change for change in VARIANTS[variant] if not change.startswith("classify"))
            alike.setdefault(key, []).append(variant)
    return list(alike.values())


def read_rows() -> list[dict]:
    with open(RESULTS, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def write_rows(rows):
    with open(RESULTS, "w", encoding="utf-8", newline="") as f:
        table = csv.DictWriter(f, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder with TREC's official files")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time, with one BLAS thread each")
    asked = parser.parse_args()
    model = pretrained_sha256("shipped", "forward")
    rows = [row for row in read_rows() if row["variant"] in VARIANTS and row["model_sha256"] == model]
    done = {(row["variant"], row["seed"]) for row in rows}
    if asked.jobs > 1:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the processes below take it over
    with ProcessPoolExecutor(asked.jobs, get_context("spawn")) as pool:
        waiting = [
            pool.submit(measure, alike, seed, asked.data_dir)
            for seed in asked.seeds for alike in groups(asked.variants, done, seed)
        ]  # fmt: skip
        for finished in as_completed(waiting):
            rows += finished.result()
            print(*finished.result(), sep="\n", flush=True)
            rows.sort(key=lambda row: (list(VARIANTS).index(row["variant"]), int(row["seed"])))
            write_rows(rows)


if __name__ == "__main__":
    main()
