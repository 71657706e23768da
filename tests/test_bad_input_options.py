"""What a user can get wrong on the command line: one clear line with the remedy, exit code 2, and no work done."""

import json
import os

import pytest
from bad_files import Place, is_refused_in_both_ways
from bad_options import CONFIG_CASES, CONSTANT_CASES, LINE_CASES, OUT_CASES
from cli_helpers import is_refused, succeeds, tiny, train, ulmfit

from ulmfit import downloads


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be read or trained: what is wrong must be found before."""

    def work(*_, **__):
        raise AssertionError("work was done")

    for name in ("load_dataset", "load_corpus", "pretrain", "finetune", "classify"):
        monkeypatch.setattr(f"ulmfit.experiment.{name}", work)




@pytest.fixture
def place(tmp_path, tiny_data, tiny_run):
    return Place(tmp_path, tiny_data, tiny_run)


@pytest.mark.parametrize("make", LINE_CASES.values(), ids=LINE_CASES)
def test_a_wrong_command_line(make, no_work, place, monkeypatch):
    monkeypatch.chdir(place.folder)
    mistake = make(place)
    is_refused(ulmfit(*mistake.arguments), *mistake.parts)
    assert not any(place.folder.iterdir())  # nothing is left behind


@pytest.mark.parametrize("make", CONSTANT_CASES.values(), ids=CONSTANT_CASES)
def test_a_constant_that_cannot_be(make, no_work, place):
    is_refused_in_both_ways(make(place))
    assert not (place.folder / "run").exists()


def test_numbers_may_be_written_as_computers_do(tiny_data, tmp_path):
    """YAML takes 1e-3, without a point, for a word."""
    text = ["--text", tiny_data / "text.txt", "--out", tmp_path / "lm"]
    succeeds("pretrain", *text, *tiny("pretrain"), "--set", "pretrain.lr=1e-3", "--set", "pretrain.clip=null")
    saved = (tmp_path / "lm" / "config.yaml").read_text()
    assert "lr: 0.001\n" in saved and "clip: null\n" in saved


# --- where the run is to go


@pytest.mark.parametrize("name", OUT_CASES)
def test_an_output_folder_that_cannot_be_is_found_before_any_work(name, no_work, place):
    if name == "no rights" and os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    is_refused_in_both_ways(OUT_CASES[name](place))
    assert (place.folder / "full" / "thesis.tex").exists() and (place.folder / "run" / "config.yaml").exists()


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


@pytest.mark.parametrize("make", CONFIG_CASES.values(), ids=CONFIG_CASES)
def test_a_configuration_that_cannot_be_replayed(make, no_work, place):
    is_refused_in_both_ways(make(place))


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
    is_refused(answer, "no download from http://127.0.0.1:9/", "use --data-dir DIR")
