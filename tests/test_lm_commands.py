"""The commands that ask a language model, end to end, and what can go wrong with them."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import is_refused, succeeds, ulmfit

from minilstm import load_arrays, save_arrays
from ulmfit.documents import read_corpus
from ulmfit.model_files import MODEL, load_model, save_model
from ulmfit.perplexity import text_perplexity
from ulmfit.vocab import Vocab

FASTAI = Path(__file__).parent / "golden" / "fastai"


@pytest.fixture(scope="module")
def two_ways(tiny_run, tmp_path_factory):
    """A folder with a language model for each direction (the same weights, in truth)."""
    folder = tmp_path_factory.mktemp("models")
    loaded = load_model(tiny_run / "pretrain", "language_model")
    for direction in ("forward", "backward"):
        save_model(folder / direction, loaded.model, loaded.vocab, direction)
    return folder


@pytest.fixture
def broken(tiny_run, tmp_path):
    """Copies of the language model, each with its own fault, by name."""

    def make(name):
        folder = tmp_path / name.replace(" ", "-")
        shutil.copytree(tiny_run / "pretrain", folder)
        path = folder / MODEL
        if name == "truncated":
            path.write_bytes(path.read_bytes()[:-50])
        elif name == "foreign":
            path.write_bytes(b"not a model")
        elif name == "no vocabulary":
            (folder / "vocab.json").unlink()
        elif name == "other vocabulary":
            Vocab.build([["a", "b"]], min_freq=1).save(folder / "vocab.json")
        elif name == "diverged":
            arrays, metadata = load_arrays(path)
            save_arrays(path, {k: np.full_like(a, np.nan) for k, a in arrays.items()}, metadata)
        elif name == "too sure":
            arrays, metadata = load_arrays(path)
            arrays["decoder.bias"][0] = 1e6
            save_arrays(path, arrays, metadata)
        return folder

    return make


# --- perplexity


def test_perplexity_as_json_is_what_the_function_says(tiny_run, tiny_data):
    loaded = load_model(tiny_run / "pretrain", "language_model")
    expected = text_perplexity(loaded.model, loaded.vocab, read_corpus(tiny_data / "text.txt"), "forward")
    answer = succeeds("perplexity", tiny_data / "text.txt", "--model", tiny_run / "pretrain", "--json")
    assert json.loads(answer.out) == expected._asdict()


def test_perplexity_for_people(tiny_run, tiny_data, tmp_path):
    (tmp_path / "t.txt").write_text("Who is the zebra ?\n\nThe river is red .")
    answer = succeeds("perplexity", tmp_path / "t.txt", "--model", tiny_run / "finetune")
    text, unknown, perplexity, vocabulary = answer.out.splitlines()
    assert text.split(maxsplit=1)[1] == "2 documents, 14 tokens, read forward in one piece"
    assert unknown.split()[1:3] == ["7.14", "%"] and "xxunk" in unknown  # one of 14
    numbers = json.loads(succeeds("perplexity", tmp_path / "t.txt", "--model", tiny_run / "finetune", "--json").out)
    assert f"{numbers['perplexity']:,.2f} ({numbers['bits_per_token']:.3f} bits per token)" in perplexity
    assert perplexity.endswith(f"; over known words only: {numbers['known_perplexity']:,.2f}")
    words = len(load_model(tiny_run / "finetune", "language_model").vocab)
    assert numbers["vocab_size"] == words and vocabulary.split()[1:3] == [str(words), "words;"]


def test_perplexity_of_unknown_words_alone(tiny_run, tmp_path):
    (tmp_path / "t.txt").write_text("zebra")
    command = ["perplexity", tmp_path / "t.txt", "--model", tiny_run / "pretrain"]
    assert "; over known words only: -\n" in succeeds(*command).out
    assert "1 document, 2 tokens" in succeeds(*command).out
    assert json.loads(succeeds(*command, "--json").out)["known_perplexity"] is None


def test_a_long_perplexity_says_how_far_it_is_and_a_table_is_read_as_text(tiny_run, tmp_path, monkeypatch):
    """On standard error, where a program that reads the answer does not see it."""
    (tmp_path / "t.csv").write_text("text,label\n" + "it is red , a\n" * 2000)
    command = ["perplexity", tmp_path / "t.csv", "--json", "--batch-size", "1", "--model", tiny_run / "pretrain"]
    note = f"note: {tmp_path}/t.csv looks like a table and is read as plain text, its commas and labels too"
    quiet = ulmfit(*command)
    assert (quiet.code, " ".join(quiet.err.split())) == (0, note)
    monkeypatch.setattr("ulmfit.progress.ConsoleProgress.SECONDS_BETWEEN_LINES", -1)
    answer = ulmfit(*command)
    assert answer.out == quiet.out
    assert re.search(r" tokens so far \.\.\.\nreading: 1,024 of [0-9,]+ tokens, [0-9:]+ left \.\.\.\n", answer.err)


def test_a_perplexity_beyond_all_numbers(broken, tiny_data):
    command = ["perplexity", tiny_data / "text.txt", "--model", broken("too sure")]
    assert "perplexity   inf (" in succeeds(*command).out
    assert json.loads(succeeds(*command, "--json").out)["perplexity"] is None


def test_perplexity_reads_long_texts_in_streams_and_says_so(tiny_run, tmp_path):
    (tmp_path / "t.txt").write_text("it is red . " * 750)  # 3,001 tokens with xxbos
    streams = {}
    for size in (1, 2, 32):
        answer = succeeds("perplexity", tmp_path / "t.txt", "--model", tiny_run / "pretrain", "--batch-size", size)
        streams[size] = answer.out.splitlines()[0].split("forward ")[1]
    assert streams == {1: "in one piece", 2: "in 2 streams", 32: "in 3 streams"}


def test_perplexity_of_wikitext_by_name(tiny_run, tmp_path):
    (tmp_path / "wiki.valid.tokens").write_text(" = A River = \n\n It is red <unk> . \n")
    command = ["perplexity", "wikitext-2", "--data-dir", tmp_path, "--model", tiny_run / "pretrain"]
    answer = json.loads(succeeds(*command, "--split", "valid", "--json").out)
    assert answer["documents"] == 1 and answer["unknown_percent"] > 0
    is_refused(ulmfit(*command), "no test part of wikitext-2 here")  # the default is the test part


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("name", ["text.txt", "."])
def test_a_file_has_no_parts(name, split, tiny_run, tiny_data, monkeypatch):
    monkeypatch.chdir(tiny_data)
    answer = ulmfit("perplexity", name, "--model", tiny_run / "pretrain", "--split", split)
    is_refused(answer, f"--split {split}: WikiText by name has parts, {name} is read as a whole; leave it out")


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_where_there_are_two_directions_one_is_chosen(direction, two_ways, tiny_data):
    command = ["perplexity", tiny_data / "text.txt", "--json", "--model"]
    chosen = succeeds(*command, two_ways, "--direction", direction).out
    assert json.loads(chosen)["direction"] == direction and chosen == succeeds(*command, two_ways / direction).out
    assert json.loads(succeeds(*command, two_ways).out)["direction"] == "forward"


@pytest.mark.parametrize("arguments", [["perplexity", "text.txt"], ["generate", "it"]])
def test_without_a_model_it_is_the_one_of_the_package(arguments, two_ways, tiny_data, monkeypatch):
    monkeypatch.chdir(tiny_data)
    monkeypatch.setattr("ulmfit.pretrained.MODELS", two_ways)
    for options in ([], ["--direction", "backward"]):
        given = ["--model", two_ways / (options or ["", "forward"])[1]]
        assert succeeds(*arguments, *options).out == succeeds(*arguments, *given).out
    monkeypatch.setattr("ulmfit.pretrained.MODELS", two_ways / "nowhere")
    is_refused(ulmfit(*arguments), "nowhere/forward", "the package's model is missing")


# --- generate


def test_generate_writes_a_line_for_each_text_the_same_for_the_same_seed(tiny_run):
    command = ["generate", "Who", "is", "--model", tiny_run / "finetune", "--tokens", 9]
    one, three, other = (succeeds(*command, *o).out for o in ([], ["--n", 3], ["--n", 3, "--seed", 7]))
    assert all(line.startswith("Who is") for line in (one + three + other).splitlines())
    assert three.count("\n") == 3 and len(set(three.splitlines())) > 1
    assert three == succeeds(*command, "--n", 3).out and three.startswith(one) and other != three


def test_generate_at_temperature_0_leaves_nothing_to_chance(tiny_run):
    command = ["generate", "it", "--model", tiny_run / "pretrain", "--n", 2]
    a, b = succeeds(*command, "--temperature", 0).out.splitlines()
    assert a == b == succeeds(*command, "--top-k", 1, "--seed", 5).out.splitlines()[0]
    assert a == succeeds(*command, "--top-p", 1e-9).out.splitlines()[1]


def test_a_backward_model_writes_what_comes_before(two_ways):
    lines = succeeds("generate", "the", "river", "--model", two_ways, "--direction", "backward", "--n", 4).out
    assert all(line.endswith("the river") for line in lines.splitlines()) and len(lines) > 4 * len("the river\n")


def test_generate_says_which_words_it_does_not_know(tiny_run):
    answer = ulmfit("generate", "Zebra", "is gnu", "--model", tiny_run / "pretrain", "--tokens", 3)
    assert answer.code == 0 and answer.out.startswith("Zebra is gnu")
    assert answer.err == "note: the model does not know gnu, zebra, and reads xxunk there\n"


def test_generate_without_a_prompt(tiny_run):
    answer = succeeds("generate", "--model", tiny_run / "finetune", "--n", 5)
    assert answer.out.count("\n") == 5 and "<unk>" not in answer.out and "xx" not in answer.out


# --- import-fastai


@pytest.mark.parametrize("name, reads", [("wt103-fwd", "forward"), ("wt103-bwd", "backward"), ("old-fwd", "forward")])
def test_a_model_of_fastai_can_be_asked_at_once(name, reads, tmp_path):
    answer = succeeds("import-fastai", FASTAI / f"{name}.tgz", "--out", tmp_path / "a model")
    assert f"reads {reads}" in answer.out and "float" in answer.out and f"'{tmp_path}/a model'" in answer.out
    (tmp_path / "t.txt").write_text("the paris of ,")
    numbers = json.loads(succeeds("perplexity", tmp_path / "t.txt", "--model", tmp_path / "a model", "--json").out)
    assert numbers["direction"] == reads and np.isfinite(numbers["perplexity"])
    text = succeeds("generate", "paris", "--model", tmp_path / "a model", "--n", 3).out
    assert text.count("\n") == 3


FASTAI_MISTAKES = {
    "missing": (["no.tgz"], ["no.tgz"]),
    "no archive": (["text.txt"], ["text.txt"]),
    "the words are missing": ([FASTAI / "wt103-fwd.tgz", "--itos", "no.pkl"], ["no.pkl"]),
    "the folder is full": ([FASTAI / "wt103-fwd.tgz", "--out", "."], ["not empty"]),
    "direction": ([FASTAI / "wt103-fwd.tgz", "--direction", "both"], ["--direction", "'both'"]),
}


@pytest.mark.parametrize("arguments, parts", FASTAI_MISTAKES.values(), ids=FASTAI_MISTAKES)
def test_what_cannot_be_imported(arguments, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("a text")
    is_refused(ulmfit("import-fastai", "--out", "new", *arguments), *parts)
    assert [p.name for p in tmp_path.iterdir()] == ["text.txt"]


# --- bad input

MISTAKES = {
    "temperature": (["generate", "--temperature", "-1"], ["--temperature: expected a number from 0 up, got -1"]),
    "no number": (["generate", "--temperature", "nan"], ["--temperature", "got nan"]),
    "endless": (["generate", "--temperature", "inf"], ["--temperature", "got inf"]),
    "top-k": (["generate", "--top-k", "0"], ["--top-k"]),
    "top-p of nothing": (["generate", "--top-p", "0"], ["--top-p: expected above 0 and at most 1, got 0"]),
    "top-p of more than all": (["generate", "--top-p", "1.5"], ["--top-p", "got 1.5"]),
    "no tokens": (["generate", "--tokens", "0"], ["--tokens"]),
    "no texts": (["generate", "--n", "0"], ["--n"]),
    "negative seed": (["generate", "--seed", "-1"], ["--seed"]),
    "GPU": (["generate", "--device", "cuda"], ["--device cuda"]),
    "GPU for perplexity": (["perplexity", "text.txt", "--device", "cuda"], ["--device cuda"]),
    "batch size": (["perplexity", "text.txt", "--batch-size", "0"], ["--batch-size"]),
    "split": (["perplexity", "wikitext-2", "--split", "dev"], ["--split", "'dev'", "valid"]),
    "both": (["generate", "--direction", "both"], ["--direction", "'both'"]),
    "other direction": (["generate", "--direction", "backward"], ["reads forward; leave out --direction"]),
    "missing text": (["perplexity", "no.txt"], ["no.txt", "no such file"]),
    "empty text": (["perplexity", "empty.txt"], ["empty.txt"]),
    "blank text": (["perplexity", "blank.txt"], ["blank.txt"]),
    "binary": (["perplexity", "binary.txt"], ["binary.txt"]),
    "encoding": (["perplexity", "text.txt", "--encoding", "utf-99"], ["utf-99"]),
    "missing text, and split": (["perplexity", "no.txt", "--split", "valid"], ["no.txt", "no such file"]),
    "unknown corpus": (["perplexity", "wikitext-3", "--split", "valid"], ["unknown corpus 'wikitext-3'", "wikitext-2"]),
}


@pytest.mark.parametrize("arguments, parts", MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_question(arguments, parts, tiny_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {"text": b"It is red .", "empty": b"", "blank": b" \n \n", "binary": bytes(range(256))}
    for name, data in files.items():
        (tmp_path / f"{name}.txt").write_bytes(data)
    is_refused(ulmfit(*arguments, "--model", tiny_run / "pretrain"), *parts)


@pytest.mark.parametrize("command", [["perplexity", "text.txt"], ["generate"]])
@pytest.mark.parametrize("fault, parts", [
    ("truncated", [MODEL]), ("foreign", [MODEL]), ("no vocabulary", ["vocab.json"]),
    ("other vocabulary", ["take model.safetensors and vocab.json from the same run"]),
])  # fmt: skip
def test_a_model_that_cannot_be_read(command, fault, parts, broken, tiny_data, monkeypatch):
    monkeypatch.chdir(tiny_data)
    is_refused(ulmfit(*command, "--model", broken(fault)), *parts)


@pytest.mark.parametrize("command", [["perplexity", "text.txt"], ["generate"]])
def test_a_model_that_has_diverged(command, broken, tiny_data, monkeypatch):
    monkeypatch.chdir(tiny_data)
    is_refused(ulmfit(*command, "--model", broken("diverged")), "training diverged", code=1)


def test_a_classifier_is_not_asked_and_its_language_models_are_named(tiny_run, tmp_path):
    answer = ulmfit("generate", "--model", tiny_run)
    is_refused(answer, "expected a language model, got a classifier", tiny_run / "finetune", tiny_run / "pretrain")
    shutil.copytree(tiny_run, tmp_path / "run" / "forward")
    is_refused(ulmfit("generate", "--model", tmp_path / "run"), tmp_path / "run" / "forward" / "finetune")
    for direction in ("forward", "backward"):  # a run in both directions
        shutil.copytree(tiny_run / "finetune", tmp_path / "both" / "finetune" / direction)
    shutil.copytree(tiny_run, tmp_path / "both" / "forward", ignore=shutil.ignore_patterns("finetune", "pretrain"))
    is_refused(ulmfit("generate", "--model", tmp_path / "both"), tmp_path / "both" / "finetune")
    alone = shutil.copytree(tiny_run, tmp_path / "alone", ignore=shutil.ignore_patterns("finetune", "pretrain"))
    is_refused(ulmfit("generate", "--model", alone), "give a folder of `ulmfit pretrain` or `finetune`")


@pytest.mark.parametrize("name, part", [("nowhere", "no such folder"), ("file", "is a file"), ("empty", "no model")])
def test_a_folder_without_a_model(name, part, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    is_refused(ulmfit("generate", "--model", tmp_path / name), tmp_path / name, part)
