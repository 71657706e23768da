"""A whole experiment: the data, the three stages in every direction, one look at the test set, and the numbers."""

import json
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from .baseline import linear_baseline
from .config import SCRATCH, SHIPPED, STAGES
from .config_files import validated
from .corpus import Corpus
from .datasets import embedded_corpus, load_corpus, load_dataset
from .errors import InputError
from .metrics import confusion_matrix, error_percent, macro_f1, wilson_interval
from .model_files import save_model
from .pipeline import Stage, classify, finetune, pretrain, steps_in
from .predictor import Predictor
from .pretrained import load_pretrained, pretrained_sha256, starting_model
from .progress import Silent
from .provenance import commit, fingerprint, peak_memory, versions
from .run_dir import RunDirectory, check, prepare
from .tasks import pretraining_task


def run_experiment(config, out, *, minutes=None, resume=False, overwrite=False, progress=None) -> dict:
    """Do what a RunConfig says and leave the run directory `out` behind -> its metrics.

    minutes: a limit for pre-training, per direction; it is turned into a number of steps once, and that number goes
    into config.yaml, so that a replay is exact. With resume=True the run in `out` goes on; `config` may be None, and
    must not differ from what that run was started with.
    Raises InputError for what the user gave, NonFiniteError when training diverges.
    """
    began = time.perf_counter()
    came_from = {"versions": versions(), "commit": commit()}  # now: the code on disk may change while this runs
    progress = progress or Silent()
    config = None if config is None else validated(config)
    run = RunDirectory(check(out, resume=resume, overwrite=overwrite))
    if resume:
        config, minutes = _stored_config(run, config), None
        if (metrics := run.load_metrics()) is not None:
            progress.message(f"{out} is complete; nothing is left to resume")
            return metrics
        progress.message(f"going on with {out} as its config.yaml says")
    dataset = read_dataset(config, progress) if config.dataset else None
    corpus = read_corpus(config, progress) if "pretrain" in config.stages else None
    if minutes is not None and corpus is not None:
        config = _freeze_steps(config, corpus, minutes, progress)
    if overwrite:  # an old run is deleted only when all that the new one reads is known to be good
        _check_sources(config, run.path)
    prepare(out, resume=resume, overwrite=overwrite)
    run.save_config(config)
    reports = {d: _train_direction(config, d, dataset, corpus, run, progress) for d in config.directions}
    metrics = {"seed": config.seed, "direction": config.direction, **_about_data(dataset, corpus)}
    if config.pretrained not in (None, SCRATCH):
        metrics["pretrained_sha256"] = {d: pretrained_sha256(config.pretrained, d) for d in config.directions}
    if "classify" in config.stages:
        metrics |= _test(config, dataset, run.path, progress)
    stages = {s: _total([reports[d][s] for d in config.directions]) for s in STAGES}
    # a resumed run has spent time before: its stages remember theirs
    seconds = max(time.perf_counter() - began, sum(s["seconds"] for s in stages.values() if s))
    metrics |= {"stages": stages, "directions": reports, "seconds": seconds, "peak_memory_mb": peak_memory()}
    metrics |= came_from
    run.save_metrics(metrics)
    run.close()
    return metrics


def _stored_config(run, config):
    """The configuration of the run in `run`. Raises InputError when `config`, unless None, asks for another one."""
    stored = run.load_config()
    if config is not None:
        steps = stored.recipe.pretrain.steps  # may have been frozen from minutes
        asked = replace(config, recipe=replace(config.recipe, pretrain=replace(config.recipe.pretrain, steps=steps)))
        differ = [f.name for f in fields(stored) if getattr(stored, f.name) != getattr(asked, f.name)]
        if differ:
            raise InputError(
                f"{run.path}: was started with another {', '.join(differ)}; repeat the command it was started with, "
                "or give --resume and --out alone"
            )
    return stored


def _about_data(dataset, corpus):
    """What was learnt from, for metrics.json."""
    about = {"dataset": None}
    if corpus is not None:
        about["corpus_sha256"] = fingerprint(corpus.types, *corpus.documents)
    if dataset is not None:
        parts = {name: getattr(dataset, name) for name in ("train", "valid", "test")}
        about |= {"dataset": dataset.name, **{f"n_{name}": len(part.texts) for name, part in parts.items()}}
        about["dataset_sha256"] = fingerprint(*(x for part in parts.values() for x in (part.texts, part.labels)))
        about["notes"] = list(dataset.notes)
    return about


def _check_sources(config, out):
    """Whether the run can do without what `out` holds, and its language models can be loaded."""
    model = None if config.pretrained in (SHIPPED, SCRATCH) else config.pretrained
    for source in (model, config.pretrain_text, config.dataset, config.test_file, config.data_dir):
        if source is not None and Path(source).resolve().is_relative_to(out.resolve()):
            raise InputError(f"{source}: --overwrite would delete it with the rest of {out}; name another --out")
    if config.pretrained not in (None, SCRATCH):
        for direction in config.directions:
            load_pretrained(config.pretrained, direction)


def read_dataset(config, progress):
    """The data set a configuration names."""
    progress.message(f"reading {config.dataset}")
    return load_dataset(
        config.dataset, data_dir=config.data_dir, seed=config.seed, test_path=config.test_file,
        text_column=config.text_column, label_column=config.label_column, encoding=config.encoding,
        n_train=config.n_train,
    )  # fmt: skip


def read_corpus(config, progress):
    if config.pretrain_text is None:
        texts = embedded_corpus()
    else:
        # the folder of a data set need not hold WikiText as well
        holds_it = config.data_dir and (config.dataset is None or any(Path(config.data_dir).glob("wiki*")))
        texts = load_corpus(config.pretrain_text, data_dir=config.data_dir if holds_it else None)
    progress.message(f"reading {config.pretrain_text or 'the embedded English text'}")
    return Corpus(texts, progress.tokens)


def _freeze_steps(config, corpus, minutes, progress):
    progress.message("timing a few steps")
    task, _, _ = pretraining_task(corpus, config.recipe, config.seed, config.directions[0])
    frozen = replace(config.recipe.pretrain, steps=steps_in(minutes, task))
    return replace(config, recipe=replace(config.recipe, pretrain=frozen))


def _train_direction(config, direction, dataset, corpus, run, progress):
    """The configuration's stages in one direction -> {stage: what it reports, None if it was not done}.

    The last stage's model lands in the run directory, the others' in a folder of their stage's name.
    """
    several = len(config.directions) > 1
    home = run.path / direction if several else run.path
    recipe, seed, reports = config.recipe, config.seed, dict.fromkeys(STAGES)

    def stage(name):
        return Stage(run, f"{name}-{direction}" if several else name, progress)

    def save(name, *model, **buffers):
        save_model(home if name == config.stages[-1] else home / name, *model, direction, **buffers)

    if "pretrain" in config.stages:
        model, vocab, reports["pretrain"] = pretrain(stage("pretrain"), corpus, recipe, seed, direction)
        save("pretrain", model, vocab)
    else:
        model, vocab = starting_model(config, dataset.corpus, direction)
        if replace(model.size, head=recipe.size.head) != recipe.size:
            size = f"{model.size.embedding}/{model.size.hidden}/{model.size.layers}"
            progress.message(f"the language model has embedding/hidden/layers {size}; the recipe's size is not used")
    if "finetune" in config.stages:
        model, vocab, reports["finetune"] = finetune(
            stage("finetune"), model, vocab, dataset.corpus, recipe, seed, direction, valid_texts=dataset.valid.texts
        )
        save("finetune", model, vocab)
    if "classify" in config.stages:
        classifier, stats, reports["classify"] = classify(
            stage("classify"), model, vocab, dataset, recipe, seed, direction
        )
        windows = {"bptt": recipe.classify.bptt, "max_tokens": recipe.classify.max_tokens}
        save("classify", classifier, vocab, classes=dataset.classes, stats=stats, **windows)
    return reports


def _test(config, dataset, out, progress):
    """The one look at the test set, ours and the baseline's -> numbers for metrics.json, predictions.jsonl."""
    progress.message("testing")
    predictor = Predictor.load(out)
    labels, texts = dataset.test.labels, dataset.test.texts
    each = predictor.predict_proba_each(texts)
    probabilities = each.mean(axis=0)
    predicted = probabilities.argmax(axis=1)
    error = error_percent(labels, predicted)
    confusion = confusion_matrix(labels, predicted, len(dataset.classes))
    with open(out / "predictions.jsonl", "w", encoding="utf-8") as f:
        for text, label, p in zip(texts, labels, probabilities, strict=True):
            row = {"text": text, "label": dataset.classes[label], "predicted": dataset.classes[p.argmax()]}
            f.write(json.dumps(row | {"probabilities": dict(zip(dataset.classes, p.round(6).tolist(), strict=True))}))
            f.write("\n")
    # the baseline has nothing to validate, so it learns from the validation texts as well; not where n_train is the
    # question: then both get so many texts and no more
    known = (dataset.train,) if config.n_train else (dataset.train, dataset.valid)
    known_texts, known_labels = sum((k.texts for k in known), []), np.concatenate([k.labels for k in known])
    baseline = linear_baseline(known_texts, known_labels, texts)
    alone = [error_percent(labels, p.argmax(axis=1)) for p in each]
    return {
        "test_error": error,
        "test_error_by_direction": dict(zip(config.directions, alone, strict=True)),
        "test_error_ci95": list(wilson_interval(error, len(labels))),
        "macro_f1": macro_f1(confusion),
        "baseline_error": None if baseline is None else error_percent(labels, baseline),
        "classes": list(dataset.classes),
        "confusion": confusion.tolist(),
    }


def _total(reports):
    """One stage over all directions: seconds, steps and tokens added up; everything else averaged."""
    if reports[0] is None:
        return None
    total = {}
    for key in reports[0]:
        values = [r[key] for r in reports if r[key] is not None]
        n = 1 if key in ("seconds", "steps", "tokens") else len(values)
        total[key] = (sum(values) / n if n > 1 else sum(values)) if values else None
    return total | {"tokens_per_second": total["tokens"] / total["seconds"]}
