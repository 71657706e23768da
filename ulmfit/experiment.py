"""A whole experiment: the data, the three stages in every direction, one look at the test set, and the numbers."""

import time
from dataclasses import fields, replace
from pathlib import Path

from .config import SCRATCH, SHIPPED, STAGES
from .config_files import validated
from .corpus import Corpus, note_a_table
from .datasets import embedded_corpus, load_corpus, load_dataset
from .devices import check_device, task_to
from .errors import InputError
from .locks import locked
from .model_files import save_model
from .pipeline import Stage, classify, finetune, pretrain, steps_in
from .pretrained import check_start, fine_tuned_on, starting_model
from .progress import Silent
from .provenance import commit, fingerprint, peak_memory, versions
from .run_dir import METRICS, RunDirectory, check, prepare
from .tasks import pretraining_task, training_tokens
from .test_set import run_test

FOUND = ("pretrained_sha256", "dataset_sha256", "corpus_sha256")  # what a run fills in, beside the device
SUMMED = ("seconds", "steps", "skipped_steps", "tokens", "parameters")


def run_experiment(config, out, *, device=None, minutes=None, resume=False, overwrite=False, progress=None) -> dict:
    """Do what a RunConfig says and leave the run directory `out` behind -> its metrics.

    device: "cpu" or "cuda", instead of what the configuration says, or that of a run that is resumed. minutes: how long
    to pre-train, per direction, whatever the recipe's epochs; it is turned into a number of steps once, and that number
    goes into config.yaml, so that a replay is exact. With resume=True the run in `out` goes on; `config` may be None,
    and must not differ from what that run was started with.
    Raises InputError for what the user gave, and where another run is writing into `out`; NonFiniteError when training
    diverges; KeyboardInterrupt, with a checkpoint saved, for Ctrl-C.
    """
    began = time.perf_counter()
    code = commit()  # now: it may change on disk while this runs
    progress = progress or Silent()
    if config is None and not resume:
        raise InputError("config: expected a RunConfig; None is for a run that is resumed")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise InputError(f"minutes: expected a number above 0, got {minutes}")
    config = None if config is None else validated(config)
    run = RunDirectory(check(out, resume=resume, overwrite=overwrite))
    with locked(run.path, progress.message) as run.held:
        if resume:
            config, minutes = _stored_config(run, config), None
            if (metrics := run.load_metrics()) is not None:
                where = f"its numbers are in {run.path / METRICS}"
                progress.message(f"{out} is complete; nothing is left to resume; {where}")
                run.close()
                return metrics
            progress.message(f"going on with {out} as its config.yaml says ...")
        config = _on_device(config, device, resume, progress)
        came_from = {"device": config.device, "versions": versions(config.device), "commit": code}
        config, dataset, corpus = _read(config, run, minutes, resume, progress)
        if overwrite:  # an old run is deleted only when all that the new one reads is known to be good
            _check_sources(config, run.path)
        prepare(out, resume=resume, overwrite=overwrite)
        run.save_config(config)
        run.environment = came_from
        metrics = _train_and_test(config, dataset, corpus, run, progress)
        # a resumed run has spent time before: its stages remember theirs
        stages = sum(stage["seconds"] for stage in metrics["stages"].values() if stage)
        metrics |= {"seconds": max(time.perf_counter() - began, stages), "peak_memory_mb": peak_memory(), **came_from}
        run.save_metrics(metrics)
        run.close()
    return metrics


def _read(config, run, minutes, resume, progress):
    """-> the configuration with all that only a look at models and texts could tell, the data set, the corpus"""
    config = _with_start(config, resume, run, progress)
    dataset = read_dataset(config, progress) if config.dataset else None
    corpus = read_corpus(config, progress) if "pretrain" in config.stages else None
    config = _with_data(config, dataset, corpus, resume, run, progress)
    if dataset is not None and (start := fine_tuned_on(config.pretrained)) is not None:
        dataset = _with_split_noted(dataset, config, start, progress)
    if minutes is not None and corpus is not None:
        config = _freeze_steps(config, corpus, minutes, progress)
    return config, dataset, corpus


def _train_and_test(config, dataset, corpus, run, progress) -> dict:
    """All stages in all directions, and the test -> metrics, but for those of the whole run"""
    reports = {d: _train_direction(config, d, dataset, corpus, run, progress) for d in config.directions}
    metrics = {"seed": config.seed, "direction": config.direction, **_about_data(config, dataset)}
    if config.pretrained_sha256 is not None:
        metrics["pretrained_sha256"] = dict(zip(config.directions, config.pretrained_sha256, strict=True))
    if "classify" in config.stages:
        metrics |= run_test(config, dataset, run.path, progress)
    stages = {s: _total([reports[d][s] for d in config.directions]) for s in STAGES}
    return metrics | {"stages": stages, "directions": reports}


def _stored_config(run, config):
    """The configuration of the run in `run`. Raises InputError when `config`, unless None, asks for another one."""
    stored = run.load_config()
    if config is not None:
        steps = config.recipe.pretrain.steps or stored.recipe.pretrain.steps  # which may have been frozen from minutes
        recipe = replace(config.recipe, pretrain=replace(config.recipe.pretrain, steps=steps))
        found = {name: getattr(stored, name) for name in (*FOUND, "device")}  # see _with_start, _with_data, _on_device
        asked = replace(config, recipe=recipe, **found)
        differ = [f.name.replace("_", "-") for f in fields(stored) if getattr(stored, f.name) != getattr(asked, f.name)]
        if differ:
            raise InputError(
                f"{run.path}: was started with another {', '.join(differ)}; repeat the command it was started with, "
                "or give --resume and --out alone"
            )
    return stored


def _on_device(config, device, resume, progress):
    """The configuration with the device to compute on. Raises InputError where it is not there."""
    if resume and device not in (None, config.device):
        progress.message(f"this run has been on {config.device} and goes on on {device}, which rounds differently")
    config = config if device is None else replace(config, device=device)
    check_device(config.device, "--device" if device else "config.yaml says device")
    return config


def _with_start(config, resume, run, progress):
    """The configuration with the sha256 of what it starts from, which is as it was or there is a word about it.

    Raises InputError for a model that is missing or does not fit, and for another one than the resumed run's.
    """
    found = check_start(config)
    if found is not None and config.pretrained_sha256 not in (None, found):
        if resume:
            raise InputError(
                f"{run.path}: was started from another language model than {config.pretrained} is now; put that back, "
                "or start anew with --overwrite"
            )
        progress.message(f"{config.pretrained} is not the language model of the run that is replayed: its file differs")
    return replace(config, pretrained_sha256=found)


def _with_data(config, dataset, corpus, resume, run, progress):
    """The configuration with the sha256 of all texts and labels, those to validate and to test with among them, which
    are as they were or there is a word about it. Raises InputError for other ones than the resumed run's."""
    found = {}
    if dataset is not None:
        parts = dataset.train, dataset.valid, dataset.test
        found["dataset_sha256"] = fingerprint(*(x for part in parts for x in (part.texts, part.labels)))
    if corpus is not None:
        found["corpus_sha256"] = fingerprint(corpus.types, *corpus.documents)
    files = " or ".join(filter(None, (config.dataset, config.test_file)))
    text = config.pretrain_text or "the embedded English text"
    for name, source in (("dataset_sha256", files), ("corpus_sha256", text)):
        if getattr(config, name) in (None, found.get(name)):
            continue
        if resume:
            raise InputError(f"{run.path}: was started with other texts or labels than {source} has now; undo what was "
                             "changed, or start anew with --overwrite")  # fmt: skip
        progress.message(f"{source} is not what it was for the run that is replayed: its texts or labels differ")
    return replace(config, **found)


def _with_split_noted(dataset, config, start, progress):
    """The data set, with a note where the language model that this run starts from was fine-tuned on another split of
    it: some of the texts to test with may have been among those it learnt from."""
    if start.dataset != config.dataset or start.dataset_sha256 in (None, config.dataset_sha256):
        return dataset
    note = (
        f"the language model was fine-tuned on another split of {config.dataset} (seed {start.seed}, here "
        f"{config.seed}): it may have read texts of this test set"
    )
    progress.message(f"note: {note}; give both stages the same --seed")
    return replace(dataset, notes=(*dataset.notes, note))


def _about_data(config, dataset):
    """What was learnt from, for metrics.json."""
    about = {"dataset": None}
    if config.corpus_sha256 is not None:
        about["corpus_sha256"] = config.corpus_sha256
    if dataset is not None:
        n = {f"n_{name}": len(getattr(dataset, name).texts) for name in ("train", "valid", "test")}
        about |= {"dataset": dataset.name, **n, "dataset_sha256": config.dataset_sha256, "notes": list(dataset.notes)}
    return about


def _check_sources(config, out):
    """Whether the run can do without what `out` holds."""
    model = None if config.pretrained in (SHIPPED, SCRATCH) else config.pretrained
    for source in (model, config.pretrain_text, config.dataset, config.test_file, config.data_dir):
        if source is not None and Path(source).resolve().is_relative_to(out.resolve()):
            raise InputError(f"{source}: --overwrite would delete it with the rest of {out}; name another --out")


def read_dataset(config, progress):
    """The data set a configuration names."""
    progress.message(f"reading {config.dataset} ...")
    return load_dataset(
        config.dataset, data_dir=config.data_dir, seed=config.seed, test_path=config.test_file,
        text_column=config.text_column, label_column=config.label_column, encoding=config.encoding,
        n_train=config.n_train,
    )  # fmt: skip


def read_corpus(config, progress):
    """The text that a configuration names for pre-training. Raises InputError where what is left of it to train on is
    shorter than one window of BPTT, with a word more to predict: nothing can be learnt from so little."""
    if config.pretrain_text is None:
        texts = embedded_corpus()
    else:
        # the folder of a data set need not hold WikiText as well
        holds_it = config.data_dir and (config.dataset is None or any(Path(config.data_dir).glob("wiki*")))
        texts = load_corpus(config.pretrain_text, data_dir=config.data_dir if holds_it else None)
    name, bptt = config.pretrain_text or "the embedded English text", config.recipe.pretrain.bptt
    progress.message(f"reading {name} ...")
    note_a_table(name, progress)
    corpus = Corpus(texts, progress.tokens)
    if len(corpus.documents) == 1:
        progress.message(f"note: {name} is a single document, of which nothing can be set aside for validation; "
                         "documents are parted by blank lines")  # fmt: skip
    if (n := training_tokens(corpus, config.seed)) <= bptt:
        raise InputError(
            f"{name}: {n} tokens to train on, and one window of pretrain.bptt needs {bptt + 1}; give a longer text, "
            "or set a smaller pretrain.bptt"
        )
    return corpus


def _freeze_steps(config, corpus, minutes, progress):
    progress.message("timing a few steps ...")
    task, _, _ = pretraining_task(corpus, config.recipe, config.seed, config.directions[0])
    task_to(task, config.device)
    frozen = replace(config.recipe.pretrain, steps=steps_in(minutes, task))
    return replace(config, recipe=replace(config.recipe, pretrain=frozen))


def _train_direction(config, direction, dataset, corpus, run, progress):
    """The configuration's stages in one direction -> {stage: what it reports, None if it was not done}.

    The last stage's model lands in the run directory, the others' in a folder of their stage's name; in `forward` and
    `backward` there where the run has both directions.
    """
    several = len(config.directions) > 1
    recipe, seed, reports = config.recipe, config.seed, dict.fromkeys(STAGES)

    def stage(name):
        return Stage(run, f"{name}-{direction}" if several else name, progress, config.device)

    def save(name, *model, **buffers):
        run.held()
        folder = run.path if name == config.stages[-1] else run.path / name
        save_model(folder / direction if several else folder, *model, direction, **buffers)

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


def _total(reports):
    """One stage over all directions: SUMMED added up; everything else averaged, but for lists, which each has alone."""
    if reports[0] is None:
        return None
    total = {}
    for key in (k for k, v in reports[0].items() if not isinstance(v, list)):
        values = [r[key] for r in reports if r[key] is not None]
        n = 1 if key in SUMMED else len(values)
        total[key] = (sum(values) / n if n > 1 else sum(values)) if values else None
    return total | {"tokens_per_second": total["tokens"] / total["seconds"]}
