"""What a user can get wrong on the command line: one clear line with the remedy, exit code 2, and no work done."""

import json
import os

import pytest
from cli_helpers import is_refused, succeeds, tiny, train, ulmfit

from ulmfit import downloads


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be read or trained: what is wrong must be found before."""

    def work(*_, **__):
        raise AssertionError("work was done")

    for name in ("load_dataset", "load_corpus", "pretrain", "finetune", "classify"):
        monkeypatch.setattr(f"ulmfit.experiment.{name}", work)


COMMAND_LINES = {
    "unknown command": (["predikt", "hi"], ["'predikt'", "Did you mean 'predict'?", "ulmfit --help"]),
    "unknown option": (["predict", "hi", "--modle", "x"], ["--modle", "--model", "ulmfit predict --help"]),
    "no such option here": (["quickstart", "--set", "a=1"], ["--set", "ulmfit quickstart --help"]),
    "missing option": (["predict", "hi"], ["--model"]),
    "missing argument": (["evaluate", "--model", "x"], ["FILE"]),
    "no value": (["predict", "hi", "--model"], ["--model"]),
    "format": (["predict", "hi", "--model", "x", "--format", "xml"], ["--format", "'xml'", "jsonl"]),
    "device": (["predict", "hi", "--model", "x", "--device", "tpu"], ["--device", "'tpu'", "cpu"]),
    "no GPU yet": (["predict", "hi", "--model", "x", "--device", "cuda"], ["--device cuda", "--device cpu"]),
    "no GPU for an import": (["import-fastai", "x", "--out", "new", "--device", "cuda"], ["--device cuda"]),
    "no GPU for a picture": (["plot", "schedule", "--device", "cuda"], ["--device cuda"]),
    "nothing to run": (["run"], ["name a DATASET", "trec6"]),
    "empty name": (["run", ""], ["name a DATASET"]),
    "empty name, one stage": (["finetune", "", "--pretrained", "x", "--out", "y"], ["error: DATASET: "]),
    "unknown recipe": (["run", "trec6", "--recipe", "lapto"], ["'lapto'", "did you mean 'laptop'?"]),
    "direction": (["run", "trec6", "--direction", "up"], ["--direction", "'up'", "backward"]),
    "negative seed": (["run", "trec6", "--seed", "-1"], ["--seed"]),
    "seed that is no number": (["run", "trec6", "--seed", "x"], ["--seed"]),
    "seed of 70 bits": (["run", "trec6", "--seed", str(2**70)], ["seed: expected a whole number"]),
    "no training texts": (["run", "trec6", "--n-train", "0"], ["--n-train", "2"]),
    "one training text": (["run", "trec6", "--n-train", "1"], ["--n-train", "2"]),
    "no minutes": (["run", "trec6", "--pretrain-minutes", "0"], ["--pretrain-minutes", "0.01"]),
    "negative minutes": (["run", "trec6", "--pretrain-minutes", "-1"], ["--pretrain-minutes"]),
    "endless minutes": (["run", "trec6", "--pretrain-minutes", "inf"], ["--pretrain-minutes"]),
    "minutes that are no number": (["run", "trec6", "--pretrain-minutes", "nan"], ["--pretrain-minutes"]),
    "minutes in words": (["pretrain", "--text", "t", "--out", "o", "--minutes", "ten"], ["--minutes"]),
    "pretrained and minutes": (
        ["run", "trec6", "--pretrained", "x", "--pretrain-minutes", "1"], ["--pretrained takes the place of stage 1"]),
    "resume and overwrite": (["run", "trec6", "--resume", "--overwrite"], ["leave one of them out"]),
    "resume and overwrite, no place": (["run", "--resume", "--overwrite"], ["leave one of them out"]),
    "empty corpus name": (["run", "trec6", "--pretrain-text", ""], ["error: --pretrain-text: expected a name"]),
    "empty text": (["pretrain", "--text", "", "--out", "y"], ["error: --text: expected a name"]),
    "empty name of a model": (["run", "trec6", "--pretrained", ""], ["error: --pretrained: expected shipped, none"]),
    "minutes without a text": (
        ["run", "questions", "--pretrain-minutes", "1"], ["--pretrain-minutes needs --pretrain-text"]),
    "resume without a place": (["run", "--resume"], ["the run in --out; name it"]),
    "overwrite without a place": (["run", "questions", "--overwrite"], ["the run in --out; name it"]),
}  # fmt: skip
IDLE = {  # options that would change nothing
    "official files of a table": (["run", "t.csv", "--data-dir", "d"], ["--data-dir", "t.csv needs none"]),
    "official files of the package": (["run", "questions", "--data-dir", "d"], ["--data-dir", "questions needs none"]),
    "official files of a text": (["pretrain", "--text", ".", "--data-dir", "d", "--out", "o"], ["--data-dir"]),
    "official files of two": (
        ["run", "t.csv", "--pretrain-text", ".", "--data-dir", "d"], ["--data-dir", " and . needs none"]),
    "official files, perplexity": (["perplexity", ".", "--data-dir", "d"], ["--data-dir", ". needs none"]),
    "text column of a name": (["run", "imdb", "--text-column", "t"], ["--text-column is for a file of your"]),
    "label column of a name": (["finetune", "trec6", "--label-column", "l", "--out", "o"], ["--label-column is for"]),
    "encoding of a name": (["lr-find", "trec50", "--encoding", "latin-1"], ["--encoding is for a file of your own"]),
    "test file of a name": (["classify", "questions", "--test-file", "t.csv", "--out", "o"], ["--test-file is for"]),
    "constant of another stage": (
        ["classify", "trec6", "--out", "o", "--set", "finetune.epochs=3"],
        ["--set finetune.epochs=3: the stage finetune is not done here (classify); leave it out"]),
    "constant of no stage 1": (["run", "trec6", "--set", " pretrain.lr=1"], ["pretrain is not done here (finetune, "]),
    "constant of a later stage": (
        ["pretrain", "--text", ".", "--set", "classify.lr=1", "--out", "o"], ["--set classify.lr=1: the stage"]),
    "rate of another stage": (
        ["lr-find", "trec6", "--stage", "finetune", "--set", "classify.lr=1"], ["--set classify.lr=1: the stage"]),
    "text of another stage": (["lr-find", "trec6", "--text", "t.txt"], ["--text is for --stage pretrain"]),
    "data of another stage": (["lr-find", "trec6", "--stage", "pretrain"], ["leave out DATASET and --pretrained"]),
    "start of another stage": (["lr-find", "--stage", "pretrain", "--pretrained", "none"], ["leave out DATASET and"]),
}  # fmt: skip


@pytest.mark.parametrize("arguments, parts", (COMMAND_LINES | IDLE).values(), ids=COMMAND_LINES | IDLE)
def test_a_wrong_command_line(arguments, parts, no_work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    is_refused(ulmfit(*arguments), *parts)
    assert not any(tmp_path.iterdir())  # nothing is left behind


CONSTANTS = {
    "lr=0.1": ["there is no constant 'lr'; did you mean pretrain.lr, finetune.lr, classify.lr?"],
    "classify.epochz=3": ["did you mean classify.epochs"],
    "clasify.epochs=3": ["classify.epochs"],
    "classify=3": ["there is no constant 'classify'"],
    "a.b.c.d=1": ["there is no constant 'a.b.c.d'; there are size.embedding"],
    "classify.epochs": ["expected NAME=VALUE"],
    "=3": ["there is no constant ''"],
    "classify.epochs=": ["expected a number, got None"],
    "classify.epochs=[": ["the value cannot be read"],
    "classify.epochs=ten": ["expected a number, got 'ten'"],
    "size.hidden=8.5": ["expected a whole number, got 8.5"],
    "size.hidden=true": ["expected a whole number, got True"],
    "size.hidden=100000000": ["from 1 to 100,000"],
    "size.layers=0": ["from 1"],
    "size.embedding=-1": ["from 1"],
    "size.head=0": ["from 1"],
    "vocab_size=3": ["from 10 up, got 3"],
    "min_freq=0": ["from 1 up, got 0"],
    "pretrain.batch_size=0": ["from 1 up, got 0"],
    "classify.batch_size=0": ["from 2 up, got 0"],
    "classify.batch_size=1": ["from 2 up, got 1"],
    "pretrain.bptt=0": ["from 1 up, got 0"],
    "pretrain.steps=0": ["from 1 up, got 0"],
    "classify.max_tokens=0": ["from 1 up, got 0"],
    "classify.epochs=0": ["above 0", "got 0.0"],
    "classify.epochs=-1": ["above 0", "got -1.0"],
    "classify.epochs=1e300": ["at most 1,000,000"],
    "classify.lr=0": ["above 0, got 0.0"],
    "classify.lr=-1": ["above 0, got -1.0"],
    "classify.lr=nan": ["above 0, got nan"],
    "classify.lr=.nan": ["above 0, got nan"],
    "classify.lr=inf": ["above 0, got inf"],
    "classify.lr_factor=0": ["above 0"],
    "classify.clip=0": ["above 0"],
    "classify.weight_decay=-1": ["from 0 up"],
    "classify.dropouts.embedding=1.0": ["from 0 to less than 1, got 1.0"],
    "classify.dropouts.weight=-0.1": ["from 0 to less than 1, got -0.1"],
    "classify.dropouts.head=[1.0, 0]": ["from 0 to less than 1, got 1.0"],
    "classify.dropouts.head=0.1": ["expected a list of 2, got 0.1"],
    "classify.betas=[1, 1]": ["from 0 to less than 1, got 1.0"],
    "classify.schedule=slanted": ["expected one of constant, slanted_triangular"],
    "classify.unfreezing=slow": ["expected one of gradual"],
}


@pytest.mark.parametrize("change, parts", CONSTANTS.items(), ids=CONSTANTS)
def test_a_constant_that_cannot_be(change, parts, no_work, tmp_path):
    answer = ulmfit("run", "trec6", "--set", change, "--out", tmp_path / "run")
    is_refused(answer, f"--set {change}: ", *parts)
    assert not (tmp_path / "run").exists()


def test_numbers_may_be_written_as_computers_do(tiny_data, tmp_path):
    """YAML takes 1e-3, without a point, for a word."""
    text = ["--text", tiny_data / "text.txt", "--out", tmp_path / "lm"]
    succeeds("pretrain", *text, *tiny("pretrain"), "--set", "pretrain.lr=1e-3", "--set", "pretrain.clip=null")
    saved = (tmp_path / "lm" / "config.yaml").read_text()
    assert "lr: 0.001\n" in saved and "clip: null\n" in saved


# --- where the run is to go


OUT_FOLDERS = {
    "a file": ("file", [], ["is a file; name a folder"]),
    "below a file": ("file/run", [], ["cannot be written", "choose another --out"]),
    "a run": ("run", [], ["--resume continues it, --overwrite starts anew"]),
    "something else": ("full", [], ["is not empty; name another --out"]),
    "something else, overwrite": ("full", ["--overwrite"], ["is not a run directory", "will not delete it"]),
    "nothing to resume": ("new", ["--resume"], ["no run to resume there", "leave out --resume"]),
    "a name too long": ("x" * 300, [], ["cannot be written"]),
    "no rights": ("locked/run", [], ["cannot be written", "choose another --out"]),
}


@pytest.mark.parametrize("out, options, parts", OUT_FOLDERS.values(), ids=OUT_FOLDERS)
def test_an_output_folder_that_cannot_be_is_found_before_any_work(out, options, parts, no_work, tmp_path, tiny_run):
    if out.startswith("locked") and os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    (tmp_path / "file").touch()
    for folder in ("run", "full", "locked"):
        (tmp_path / folder).mkdir()
    (tmp_path / "locked").chmod(0o500)
    (tmp_path / "full" / "thesis.tex").touch()
    (tmp_path / "run" / "config.yaml").write_bytes((tiny_run / "config.yaml").read_bytes())
    is_refused(ulmfit("run", "trec6", "--out", tmp_path / out, *options), tmp_path / out, *parts)
    assert (tmp_path / "full" / "thesis.tex").exists() and (tmp_path / "run" / "config.yaml").exists()


MISTAKES = {
    "data": ["run", "no.csv"],
    "corpus": ["run", "train.csv", "--pretrain-text", "no.txt"],
    "pretrained": ["run", "train.csv", "--pretrained", "nowhere"],
    "kind of model": ["classify", "train.csv", "--pretrained", "old"],
    "inside": ["finetune", "train.csv", "--pretrained", "old/pretrain"],
}


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES)
def test_overwrite_deletes_no_run_for_the_sake_of_a_mistake(arguments, tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_bytes((tiny_data / "train.csv").read_bytes())
    train(tiny_data, tmp_path / "old", "--set", "classify.epochs=1")
    before = sorted(p.name for p in (tmp_path / "old").iterdir())
    is_refused(ulmfit(*arguments, "--out", "old", "--overwrite"))
    assert sorted(p.name for p in (tmp_path / "old").iterdir()) == before


# --- replaying and resuming


def test_config_goes_with_nothing_that_would_change_the_run(tiny_run, tmp_path):
    config = ["--config", tiny_run / "config.yaml", "--out", tmp_path / "run"]
    is_refused(ulmfit("run", "trec6", *config), "leave out DATASET")
    is_refused(ulmfit("run", *config, "--seed", "3", "--set", "a=1"), "leave out --set, --seed")


def test_resume_goes_with_nothing_that_would_change_the_run(tiny_data, tmp_path, monkeypatch):
    stopped(tiny_data, tmp_path / "run", monkeypatch)
    resume = ["--resume", "--out", tmp_path / "run"]
    is_refused(ulmfit("run", *resume, "--seed", "3"), "--resume goes on", "leave out --seed")
    is_refused(train(tiny_data, tmp_path / "run", "--resume", "--n-train", "4"), "was started with another n-train")
    is_refused(ulmfit("run", "questions", *resume), "was started with another", "dataset")
    succeeds("run", *resume)


CONFIGS = {
    "unknown key": (("seed: 1", "sede: 1"), ["unknown key 'sede'; did you mean 'seed'?"]),
    "wrong type": (("seed: 1", "seed: one"), ["seed: expected a whole number, got 'one'"]),
    "a value that cannot be": (("layers: 1", "layers: 0"), ["recipe.size.layers: expected a whole number from 1"]),
    "no YAML": (("seed: 1", "seed: ["), ["not YAML: line "]),
    "orders to Python": (("seed: 1", "seed: !!python/object/apply:os.getpid []"), ["not YAML", "tag"]),
}


@pytest.mark.parametrize("change, parts", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_cannot_be_replayed(change, parts, no_work, tiny_run, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text((tiny_run / "config.yaml").read_text().replace(*change))
    is_refused(ulmfit("run", "--config", path, "--out", tmp_path / "run"), f"{path}: ", *parts)


def test_wikitext_is_taken_from_the_data_folder(tiny_data, tmp_path):
    (tmp_path / "wiki.train.tokens").write_text(" = A Cat = \n\n" + "The cat sat on the mat . \n" * 20)
    lm = ["--data-dir", tmp_path, "--out", tmp_path / "lm", *tiny("pretrain")]
    pretrain = ["pretrain", "--text", "wikitext-2", *lm]
    succeeds(*pretrain)
    (tmp_path / "wiki.train.tokens").unlink()
    is_refused(ulmfit(*pretrain, "--overwrite"), "no train part of wikitext-2 here", "wikitext-2-v1.zip")


def test_a_configuration_that_is_not_there(no_work, tmp_path):
    is_refused(ulmfit("run", "--config", tmp_path / "no.yaml"), "no.yaml", "cannot be read", "config.yaml of a run")
    is_refused(ulmfit("run", "--config", tmp_path), "cannot be read")


def stopped(data, out, monkeypatch):
    """A run that Ctrl-C has ended in its third stage, after the checkpoints of the first two."""
    with monkeypatch.context() as m:
        m.setattr("ulmfit.experiment.classify", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert train(data, out).code == 130
    return sorted((out / "checkpoints").iterdir())


def test_a_damaged_checkpoint_is_named_and_the_run_goes_on(tiny_data, tiny_run, tmp_path, monkeypatch):
    checkpoints = stopped(tiny_data, tmp_path / "run", monkeypatch)
    for path in checkpoints:
        path.write_bytes(path.read_bytes()[:-100])
    answer = ulmfit("run", "--resume", "--out", tmp_path / "run")
    assert answer.code == 0
    assert [line.split(":")[0] for line in answer.err.splitlines()] == ["warning"] * len(checkpoints)
    assert all(path.name in answer.err for path in checkpoints)
    again, plain = (json.loads((run / "metrics.json").read_text()) for run in (tmp_path / "run", tiny_run))
    assert again["confusion"] == plain["confusion"]


def test_a_checkpoint_of_other_sizes_lists_every_mismatch(tiny_data, tmp_path, monkeypatch):
    stopped(tiny_data, tmp_path / "run", monkeypatch)
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("embedding: 8", "embedding: 9"))
    answer = ulmfit("run", "--resume", "--out", tmp_path / "run")
    is_refused(answer, "weight_ih_l0: expected shape", "embedding.weight: expected shape", "--overwrite")


# --- data sets by name


def test_an_unknown_data_set_or_corpus(tmp_path):
    is_refused(ulmfit("run", "trec7", "--out", tmp_path / "a"), "unknown data set 'trec7': did you mean 'trec6'?")
    wrong = ["--pretrain-text", "wikitext-3", "--out", tmp_path / "b"]
    is_refused(ulmfit("run", "questions", *wrong), "unknown corpus 'wikitext-3': did you mean 'wikitext-103'?")
    is_refused(ulmfit("run", "trec6", "--test-file", "x.csv", "--out", tmp_path / "c"), "test")


def test_a_data_folder_without_the_official_files(tmp_path):
    (tmp_path / "empty").mkdir()
    out = ["--out", tmp_path / "run"]
    wanted = ["train_5500.label: no such file", "https://", "--data-dir"]
    is_refused(ulmfit("run", "trec6", "--data-dir", tmp_path / "empty", *out), *wanted)
    is_refused(ulmfit("run", "trec6", "--data-dir", tmp_path / "nowhere", *out), "no such folder")
    is_refused(ulmfit("run", "imdb", "--data-dir", tmp_path / "empty", *out), "aclImdb_v1.tar.gz")


def test_an_official_file_with_another_checksum(tmp_path):
    (tmp_path / "train_5500.label").write_text("HUM:ind Who changed this file ?\n")
    answer = ulmfit("run", "trec6", "--data-dir", tmp_path, "--out", tmp_path / "run")
    is_refused(answer, "train_5500.label: sha256 is ", "this copy is altered or cut off", "https://")


def test_a_download_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    nobody = downloads.Official("http://127.0.0.1:9/train_5500.label", "0" * 64)
    monkeypatch.setitem(downloads.OFFICIAL, "train_5500.label", nobody)
    monkeypatch.setenv("no_proxy", "*")
    answer = ulmfit("run", "trec6", "--out", tmp_path / "run")
    first, rest = answer.err.split("\n", 1)
    assert first.startswith("Downloading data from")
    is_refused(answer._replace(err=rest), "no download from http://127.0.0.1:9/", "use --data-dir DIR")
