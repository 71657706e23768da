"""Every command, end to end, on data of a few rows. What goes wrong is in test_bad_input_*.py."""

import ast
import csv
import io
import itertools
import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli_helpers import (
    CLASSES,
    QUESTIONS,
    TEXT,
    TINY,
    is_refused,
    make_data,
    predict_json,
    start,
    succeeds,
    tiny,
    train,
    ulmfit,
)

from minilstm import load_arrays
from ulmfit.commands.train import BY_HAND
from ulmfit.config import SCRATCH, SHIPPED
from ulmfit.config_files import change_recipe, save_config
from ulmfit.predictor import Predictor
from ulmfit.progress import ConsoleProgress
from ulmfit.recipes import QUICKSTART, RECIPES
from ulmfit.report import program

COMMANDS = (
    "quickstart", "run", "pretrain", "finetune", "classify", "evaluate", "predict", "perplexity", "generate", "lr-find",
    "plot", "import-fastai", "doctor",
)  # fmt: skip
ODD_TEXTS = [
    'He said "hi", twice', "two\nlines", "a,b;c", "café 😀", "tab\there", "=1+1", "'", '"',
    " ".join(f"long{n}" for n in range(500)), "WHO IS THAT ?", "a\u2028b", "x\ry",
]  # fmt: skip


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


def same_model(a, b):
    a, b = (load_arrays(run / "model.safetensors")[0] for run in (a, b))
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


# --- help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    answer = succeeds(command, "--help")
    assert f"Usage: ulmfit {command}" in answer.out
    assert not re.search(r"--[\w-]+ <(path|str|int|float|list)", answer.out)  # words, not Python's types
    assert all(len(line) <= 80 for line in answer.out.splitlines())


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_lists_the_commands_each_in_one_line(arguments):
    answer = succeeds(*arguments)
    places = [answer.out.index(f"\n  {command} ") for command in COMMANDS]
    assert places == sorted(places)
    assert "..." not in answer.out.split("Commands:")[1]


@pytest.mark.parametrize("command", ["run", "pretrain", "finetune", "classify", "lr-find"])
def test_help_names_all_recipes(command):
    said = " ".join(succeeds(command, "--help").out.split())
    assert f"Sizes and training constants: {', '.join(RECIPES)}." in said


def test_the_shipped_model_is_named_in_one_place():
    """And what is typed for it is what the help says."""
    files = (Path(__file__).parents[1] / "ulmfit").rglob("*.py")
    nodes = ((f.name, node) for f in files for node in ast.walk(ast.parse(f.read_text(encoding="utf-8"))))
    assert [name for name, node in nodes if isinstance(node, ast.Constant) and node.value == SHIPPED] == ["config.py"]
    for command in ("run", "finetune", "classify", "lr-find"):
        assert f"--pretrained {SHIPPED}|{SCRATCH}|FOLDER" in succeeds(command, "--help").out
    for command in ("perplexity", "generate"):
        assert f"--model {SHIPPED}|FOLDER" in succeeds(command, "--help").out


@pytest.mark.parametrize("command, entry", [
    ("finetune", "ulmfit.commands.train._run"), ("classify", "ulmfit.commands.train._run"),
    ("run", "ulmfit.commands.train._run"), ("lr-find", "ulmfit.commands.rate_answers.find_rate"),
])  # fmt: skip
@pytest.mark.parametrize("typed, meant", [([], SHIPPED), (["--pretrained", SHIPPED], SHIPPED),
                                          (["--pretrained", SCRATCH], SCRATCH)])  # fmt: skip
def test_training_starts_from_the_shipped_model(command, entry, typed, meant, tmp_path, monkeypatch):
    configs = []
    monkeypatch.setattr(entry, lambda *a, **_: configs.extend(x for x in a if hasattr(x, "pretrained")))
    succeeds(command, "questions", "--out", tmp_path / "out", *typed)
    assert [config.pretrained for config in configs] == [meant]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_told_where_to_compute(command):
    command = [command, *(["schedule"] if command == "plot" else [])]
    shown = command[0] not in ("plot", "import-fastai")  # which compute nothing, and take it all the same
    assert ("--device <cpu|cuda>" in succeeds(*command, "--help").out) == shown
    is_refused(ulmfit(*command, "--device", "tpu"), "--device", "'tpu'")


@pytest.mark.parametrize("command, stages", [
    ("run", ("finetune", "classify")), ("pretrain", ("pretrain",)), ("finetune", ("finetune",)),
    ("classify", ("classify",)), ("lr-find", ("classify",)),
])  # fmt: skip
def test_the_example_of_a_constant_changes_something_here(command, stages):
    example = re.search(r"Change one constant: --set (\S+)\.", " ".join(succeeds(command, "--help").out.split()))[1]
    assert example.split(".")[0] in stages and change_recipe(RECIPES["laptop"], [example]) != RECIPES["laptop"]


def test_help_reads_no_configuration():
    """ulmfit.config would take a quarter of the time in which --help answers."""
    code = "import sys, ulmfit.cli; sys.exit('ulmfit.config' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_python_m_ulmfit_is_ulmfit():
    done = subprocess.run([sys.executable, "-m", "ulmfit", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ulmfit ")


def test_doctor_lists_what_is_here_and_every_kernel():
    answer = succeeds("doctor")
    assert "numpy" in answer.out and np.__version__ in answer.out
    assert re.search(r"matplotlib +│ \d", answer.out)
    assert "reference" in answer.out and "can it run here?" in answer.out


def test_version(monkeypatch):
    metadata = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    for commit, said in (("abc-changed", ", commit abc-changed"), (None, "")):
        monkeypatch.setattr("ulmfit.provenance.commit", lambda c=commit: c)
        assert succeeds("--version").out == f"minilstm {metadata['project']['version']}{said}\n"


def test_doctor_says_what_to_install_for_a_kernel(monkeypatch):
    monkeypatch.setattr("minilstm_kernels._installed", lambda package: False)
    answer = succeeds("doctor")
    assert answer.out.count("numba is not installed") == 5 and answer.out.count("pip install numba\n") == 1


# --- training


def test_a_run_tells_what_it_does_and_where_it_is(tiny_data, tmp_path):
    answer = train(tiny_data, tmp_path / "a run")
    assert answer.code == 0 and answer.err == ""
    for part in ("pretrain: ", "finetune: ", "classify: ", "epoch", "Test error on 3 texts", "ULMFiT",
                 "TF-IDF + linear SVM", "Confusion matrix", "Some predictions", "The run is saved in"):  # fmt: skip
        assert part in answer.out
    assert f"--model '{tmp_path}/a run'" in answer.out  # can be copied into a shell
    assert "\x1b" not in answer.out  # plain lines where there is no terminal
    assert metrics(tmp_path / "a run")["test_error"] == 0.0  # the first word says the class
    assert (tmp_path / "a run" / "curves.png").stat().st_size > 10_000


def test_a_run_without_a_place_gets_one_that_says_what_it_is_and_when(tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clock = SimpleNamespace(strftime=datetime(2024, 3, 5, 16, 7, 9).strftime)
    monkeypatch.setattr("ulmfit.commands.train.time", clock)
    run = ["--pretrain-text", tiny_data / "text.txt", *TINY, "--set", "classify.epochs=1"]
    said = " ".join(succeeds("run", tiny_data / "train.csv", *run).out.split())
    assert "The run is saved in runs/train-20240305-160709 (" in said
    assert metrics(tmp_path / "runs" / "train-20240305-160709")["n_train"] == 39
    is_refused(ulmfit("run", tiny_data / "train.csv", *run), "train-20240305-160709: already exists")
    clock.strftime = lambda form: "later"
    succeeds("run", "--config", "runs/train-20240305-160709/config.yaml")
    assert same_model(*(tmp_path / "runs" / name for name in ("train-20240305-160709", "train-later")))


def test_without_a_test_file_a_tenth_is_set_aside_and_said_so(tiny_data, tmp_path):
    options = ["--pretrain-text", tiny_data / "text.txt", "--out", tmp_path / "run", *TINY]
    answer = succeeds("run", tiny_data / "train.csv", *options)
    assert "no test file: 6 of 48 rows were set aside as test" in " ".join(answer.out.split())
    assert metrics(tmp_path / "run")["n_test"] == 6


def test_a_replay_gives_the_same_numbers_and_the_same_model(tiny_run, tmp_path):
    succeeds("run", "--config", tiny_run / "config.yaml", "--out", tmp_path / "replay")
    keys = ("test_error", "confusion", "n_train", "baseline_error", "dataset", "seed")
    a, b = metrics(tiny_run), metrics(tmp_path / "replay")
    assert [a[k] for k in keys] == [b[k] for k in keys]
    assert a["stages"]["pretrain"]["perplexity"] == b["stages"]["pretrain"]["perplexity"]
    assert same_model(tiny_run, tmp_path / "replay")


def test_a_replay_finds_its_files_from_another_folder(tmp_path, monkeypatch):
    make_data(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    short = ["--set", "classify.epochs=1"]
    succeeds("run", "train.csv", "--test-file", "test.csv", "--pretrain-text", "text.txt", "--out", "r", *TINY, *short)
    monkeypatch.chdir(tmp_path / "elsewhere")
    succeeds("run", "--config", "../r/config.yaml", "--out", "r")
    assert same_model(tmp_path / "r", tmp_path / "elsewhere" / "r")


def test_both_directions_are_averaged(tiny_data, tmp_path):
    run = tmp_path / "both"
    assert train(tiny_data, run, "--direction", "both").code == 0
    assert metrics(run)["direction"] == "both" and set(metrics(run)["directions"]) == {"forward", "backward"}
    alone = [Predictor.load(run / d).predict_proba(["who is it ?"]) for d in ("forward", "backward")]
    answer = json.loads(succeeds("predict", "who is it ?", "--model", run, "--format", "jsonl").out)
    assert np.allclose(list(answer["probabilities"].values()), np.mean(alone, axis=0)[0], atol=1e-6)
    assert not np.allclose(*alone, atol=1e-4)


def test_many_texts_show_how_far_one_is_and_few_do_not(tiny_run, monkeypatch):
    monkeypatch.setattr(ConsoleProgress, "SECONDS_BETWEEN_LINES", -1)
    lines = [f"where is {n} ?\n" for n in range(300)]
    many, few = (ulmfit("predict", "-", "--model", tiny_run, stdin="".join(n).encode()) for n in (lines, lines[:9]))
    assert many.code == few.code == 0 and many.out.startswith(few.out) and few.err == ""
    assert re.match(r"reading: [\d,]+ of [\d,]+ tokens, [\d:]+ left \.\.\.\n", many.err)


def test_the_stages_one_by_one_give_what_run_gives(tiny_run, tiny_data, tmp_path):
    lm, tuned, model = (tmp_path / name for name in ("lm", "tuned", "model"))
    data = [tiny_data / "train.csv", "--test-file", tiny_data / "test.csv"]
    answer = succeeds("pretrain", "--text", tiny_data / "text.txt", "--out", lm, *tiny("pretrain"))
    assert "Test error" not in answer.out and metrics(lm)["stages"]["classify"] is None
    succeeds("finetune", *data, "--pretrained", lm, "--out", tuned, *tiny("finetune"))
    succeeds("classify", *data, "--pretrained", tuned, "--out", model, *tiny("classify"))
    assert same_model(model, tiny_run)
    again = json.loads(succeeds("evaluate", tiny_data / "test.csv", "--model", model, "--json").out)
    assert again["error"] == metrics(model)["test_error"] and again["n"] == 3
    assert again["confusion"] == metrics(model)["confusion"] and again["classes"] == sorted(CLASSES.values())
    assert succeeds("predict", "who is it ?", "--model", model).out.startswith("HUM\t")


def test_run_takes_a_language_model_instead_of_stage_1(tiny_run, tiny_data, tmp_path):
    data = [tiny_data / "train.csv", "--test-file", tiny_data / "test.csv"]
    how = ["--out", tmp_path / "run", *tiny("finetune", "classify")]
    succeeds("run", *data, "--pretrained", tiny_run / "pretrain", *how)
    assert metrics(tmp_path / "run")["stages"]["pretrain"] is None and same_model(tmp_path / "run", tiny_run)


def test_a_table_as_text_to_pretrain_on_is_noted(tiny_data, tmp_path):
    rows = "".join(f"{text},{label}\n\n" for text, label in QUESTIONS)
    for name, noted in (("t.csv", True), ("t.txt", False)):
        (tmp_path / name).write_text(rows)
        answer = succeeds("pretrain", "--text", tmp_path / name, "--out", tmp_path / f"{name}-lm", *tiny("pretrain"))
        assert ("looks like a table and is read as plain text" in " ".join(answer.out.split())) == noted


def test_a_text_without_blank_lines_is_noted_to_be_one_document(tiny_data, tmp_path):
    text = (tiny_data / "text.txt").read_text()
    for name, said, noted in (("one", text.replace("\n\n", "\n"), True), ("more", text, False)):
        (tmp_path / f"{name}.txt").write_text(said)
        how = ["--text", tmp_path / f"{name}.txt", "--out", tmp_path / name, *tiny("pretrain")]
        answer = " ".join(succeeds("pretrain", *how).out.split())
        assert ("is a single document" in answer and "documents are parted by blank lines" in answer) == noted


def test_minutes_become_steps_in_the_configuration(tiny_data, tmp_path):
    lm = ["--text", tiny_data / "text.txt", "--out", tmp_path / "lm", *tiny("pretrain")[:-2]]
    for length in ("pretrain.epochs=1", "pretrain.steps=9"):
        answer = ulmfit("pretrain", *lm, "--minutes", "0.01", "--set", length)
        is_refused(answer, f"--minutes says how long to pre-train, and so does --set {length}; leave one of them out")
    succeeds("pretrain", *lm, "--minutes", "0.01")
    steps = metrics(tmp_path / "lm")["stages"]["pretrain"]["steps"]
    assert f"steps: {steps}\n" in (tmp_path / "lm" / "config.yaml").read_text() and steps > 1


def test_overwrite_replaces_a_run_and_resume_of_a_complete_one_changes_nothing(tiny_data, tmp_path):
    short = ["--set", "classify.epochs=1"]
    train(tiny_data, tmp_path / "run", *short)
    (tmp_path / "run" / "without").mkdir()  # of a quickstart that was there
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    answer = train(tiny_data, tmp_path / "run", "--resume", *short)
    said = f"{tmp_path}/run is complete; nothing is left to resume; its numbers are in {tmp_path}/run/metrics.json\n"
    assert answer.code == 0 and answer.out.replace("\n", " ").split() == said.split()  # and no tables once more
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert train(tiny_data, tmp_path / "run", "--overwrite", "--seed", "2", *short).code == 0
    assert not (tmp_path / "run" / "without").exists()
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before


def test_markup_in_labels_texts_and_folders_is_only_text(tmp_path):
    """Square brackets are orders to the library that prints."""
    labels = ("[/b]", "[red]x")
    rows = [f"[/i] who {n},{labels[0]}\n[what {n},{labels[1]}\n" for n in range(8)]
    (tmp_path / "[a].csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "text.txt").write_text(TEXT * 3)
    out = tmp_path / "[/run]"
    short = ["--set", "classify.epochs=1", "--pretrain-text", tmp_path / "text.txt"]
    answer = succeeds("run", tmp_path / "[a].csv", "--out", out, *TINY, *short)
    assert "[/b]" in answer.out and "[red]x" in answer.out and "[/run]" in answer.out
    assert "[/b]" in succeeds("evaluate", tmp_path / "[a].csv", "--model", out).out


def test_without_matplotlib_a_run_still_ends(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert train(tiny_data, tmp_path / "run", "--set", "classify.epochs=1").code == 0
    assert (tmp_path / "run" / "metrics.json").exists() and not (tmp_path / "run" / "curves.png").exists()


def test_without_scikit_learn_the_baseline_says_what_it_needs(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    answer = train(tiny_data, tmp_path / "run", "--set", "classify.epochs=1")
    assert answer.code == 0 and "needs scikit-learn" in answer.out
    assert metrics(tmp_path / "run")["baseline_error"] is None


# --- stopped in the middle


def test_ctrl_c_says_how_to_go_on_and_that_works(tiny_data, tmp_path, monkeypatch):
    out = tmp_path / "my run"
    with monkeypatch.context() as m:
        m.setattr("ulmfit.progress.ConsoleProgress.epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        answer = train(tiny_data, out)
    assert answer.code == 130
    assert answer.err == f"error: stopped; to go on: {program()} run --resume --out '{out}'\n"
    assert succeeds("run", "--resume", "--out", out).out.count("Test error") == 1


@pytest.mark.parametrize("error, code, said", [
    (KeyboardInterrupt(), 130, "stopped; "),
    (OSError(28, "No space left on device"), 1, "curves.png: No space left on device; when this is mended, "),
])  # fmt: skip
def test_a_run_that_is_stopped_while_it_draws_is_shown_by_resuming(error, code, said, tiny_run, tmp_path, monkeypatch):
    """All that was to be computed is there by then."""
    out = tmp_path / "run"
    shutil.copytree(tiny_run, out, ignore=shutil.ignore_patterns("curves.png"))

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as m:
        m.setattr("matplotlib.figure.Figure.savefig", fail)
        answer = ulmfit("run", "--resume", "--out", out)
    assert answer.code == code and f"{said}to go on: {program()} run --resume --out {out}\n" in answer.err
    assert succeeds("run", "--resume", "--out", out).out.count("Test error") == 1


@pytest.mark.parametrize("command, source", [
    ("pretrain", ["--text", "text.txt"]), ("finetune", ["train.csv"]), ("classify", ["train.csv"]),
])  # fmt: skip
def test_a_stage_alone_goes_on_with_resume_and_out_alone(command, source, tiny_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_data)
    out, start = tmp_path / "run", [] if command == "pretrain" else ["--pretrained", "none"]
    with monkeypatch.context() as m:
        m.setattr("ulmfit.progress.ConsoleProgress.epoch", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert ulmfit(command, *source, "--out", out, *start, *tiny(command)).code == 130
    is_refused(ulmfit(command, "--resume", "--out", out, "--seed", "2"), "goes on with a run as it was started; leave")
    is_refused(ulmfit(command, "--resume"), "--out")
    is_refused(ulmfit(command, "--out", tmp_path / "new"), "name a ", source[0] if command == "pretrain" else "DATASET")
    assert "is saved in" in " ".join(succeeds(command, "--resume", "--out", out).out.split())
    assert metrics(out)["stages"][command]["steps"] > 0


def test_ctrl_c_before_there_is_a_run(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("ulmfit.experiment.load_dataset", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    answer = train(tiny_data, tmp_path / "run")
    assert (answer.code, answer.err) == (130, "error: stopped; to go on: the same command again\n")


def test_quickstart_goes_on_where_it_was_stopped_and_shows_what_is_done_by_then(tmp_path, monkeypatch):
    """Its second run could be resumed like any other, but then it would be compared with nothing."""
    runs, out, stop_at = [], tmp_path / "q", [2]
    table = {"n_test": 3, "test_error": 9.2, "test_error_ci95": [7.0, 12.1], "baseline_error": None}

    def train_or_stop(config, out, *, resume, overwrite, **_):
        assert resume != overwrite and (config is None) == resume
        runs.append((out, resume, config and (config.seed, config.pretrained, config.pretrained_sha256)))
        if len(runs) in stop_at:
            raise KeyboardInterrupt
        out.mkdir(parents=True, exist_ok=True)
        if not resume:
            save_config(replace(config, pretrained_sha256=("a", "b")), out / "config.yaml")
        return table

    monkeypatch.setattr("ulmfit.experiment.run_experiment", train_or_stop)
    monkeypatch.setattr("ulmfit.plots.plot_run", lambda out: None)
    monkeypatch.setattr("ulmfit.commands.train._report", lambda *metrics: runs.append(metrics))
    answer = ulmfit("quickstart", "--seed", "3", "--out", out)
    again = f"error: stopped; to go on: {program()} quickstart --resume --out {out}\n"
    assert (answer.code, answer.err) == (130, again) and "Test error on 3 texts" in answer.out
    succeeds("quickstart", "--resume", "--out", out)
    succeeds("quickstart", "--resume", "--out", out)
    without, new = out / "without", (3, "none", None)
    assert runs == [
        (out, False, (3, "shipped", None)), (without, False, new),  # as it was stopped
        (out, True, None), (without, False, new), (table, out, table),
        (out, True, None), (without, True, None), (table, out, table),
    ]  # fmt: skip
    runs.clear(), stop_at.append(1), shutil.rmtree(out)
    answer = ulmfit("quickstart", "--out", out)
    assert answer.err == "error: stopped; to go on: the same command again\n"
    is_refused(ulmfit("quickstart", "--resume", "--out", out, "--seed", "2"), "leave out --seed")


OUT_OF_MEMORY = {  # where it happens -> the command, which stage's batch_size may help
    "experiment.run_experiment": (["run", "questions", "--out", "new"], "classify"),
    "experiment.load_dataset": (["finetune", "questions", "--out", "new"], "finetune"),
    "commands.rate_answers.find_rate": (["lr-find", "questions"], "classify"),
    "experiment.prepare": (["quickstart", "--out", "new"], None),
    "commands.lm_answers.print_perplexity": (["perplexity", "x.txt"], None),
    "commands.lm_answers.print_import": (["import-fastai", "x.tgz", "--out", "new"], None),
}


@pytest.mark.parametrize("place", OUT_OF_MEMORY)
@pytest.mark.parametrize("error, said", [(MemoryError("of 9 TiB"), "out of memory (of 9 TiB)"),
                                         (MemoryError(), "out of memory")])  # fmt: skip
def test_out_of_memory(place, error, said, tmp_path, monkeypatch):
    """Only who trains with --set can make the batches smaller."""
    command, stage = OUT_OF_MEMORY[place]
    remedy = f"; a smaller batch_size helps, e.g. --set {stage}.batch_size=16" if stage else ""

    def fail(*_, **__):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"ulmfit.{place}", fail)
    for options in ([], ["--threads", "1"]):
        answer = ulmfit(*options, *command)
        assert (answer.code, answer.err) == (1, f"error: {said}{remedy}\n")


# --- predicting


def predictions(run, *arguments, **options):
    """[(text, predicted class, {class: probability})]"""
    return [(r["text"], r["predicted"], r["probabilities"]) for r in predict_json(run, *arguments, **options)]


def sources(folder, texts):
    """The same texts given in every way -> {name: (arguments, standard input)}"""
    lines = "".join(f"{t}\n" for t in texts)
    objects = "".join(json.dumps({"text": t}) + "\n" for t in texts)
    table = io.StringIO()
    csv.writer(table).writerows([["text"], *([t] for t in texts)])
    tabs = "text\n" + "".join(f"{t}\n" for t in texts)
    for name, content in {"t.txt": lines, "t.jsonl": objects, "t.csv": table.getvalue(), "t.tsv": tabs}.items():
        (folder / name).write_text(content, encoding="utf-8", newline="")
    return {
        "arguments": (texts, ""), "lines": ([], lines), "dash": (["-"], lines),
        "stdin jsonl": (["--stdin", "jsonl"], objects), "stdin csv": (["-", "--stdin", "csv"], table.getvalue()),
        **{name: ([folder / name], "") for name in ("t.txt", "t.jsonl", "t.csv", "t.tsv")},
    }  # fmt: skip


def test_texts_may_come_from_anywhere_and_keep_their_order(tiny_run, tmp_path):
    texts = ["who is it ?", "where is the café 😀 ?", "what, now ?", "who is it ?", "nothing"]
    ways = {
        name: predictions(tiny_run, *arguments, stdin=stdin.encode())
        for name, (arguments, stdin) in sources(tmp_path, texts).items()
    }
    assert all(answers == ways["arguments"] for answers in ways.values())
    assert [text for text, _, _ in ways["arguments"]] == texts
    assert len({label for _, label, _ in ways["arguments"]}) == 3


def test_a_text_alone_and_in_a_batch_gets_the_same_answer(tiny_run):
    texts = [text for text, _ in QUESTIONS[:12]] + ["a much longer text than all of the others " * 20, "short"]
    together = predictions(tiny_run, *texts)
    for text, (_, label, probabilities) in zip(texts, together, strict=True):
        [(_, alone, alone_p)] = predictions(tiny_run, text)
        assert alone == label and probabilities == pytest.approx(alone_p, abs=1e-5)


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_odd_texts_come_back_unchanged(format, tiny_run, tmp_path):
    out = tmp_path / "answers"
    assert succeeds("predict", *ODD_TEXTS, "--model", tiny_run, "--format", format, "--out", out).out == ""
    with open(out, encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f)) if format == "csv" else [json.loads(line) for line in f]
    assert [row["text"] for row in rows] == ODD_TEXTS
    assert all(row["predicted"] in CLASSES.values() for row in rows)
    if format == "csv":
        assert list(rows[0]) == ["text", "predicted", "p_ENTY", "p_HUM", "p_LOC"]
        rows = [row | {"probabilities": {c: float(row[f"p_{c}"]) for c in ("ENTY", "HUM", "LOC")}} for row in rows]
    for row in rows:
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["probabilities"][row["predicted"]] == max(row["probabilities"].values())


def test_as_text_each_answer_is_one_line(tiny_run):
    lines = succeeds("predict", *ODD_TEXTS, "--model", tiny_run).out.split("\n")
    assert len(lines) == len(ODD_TEXTS) + 1
    for line, text in zip(lines, ODD_TEXTS, strict=False):
        label, probability, shown = line.split("\t")
        assert label in CLASSES.values() and 1 / 3 < float(probability) <= 1 and shown == " ".join(text.split())


def test_other_columns_and_encodings(tiny_run, tmp_path):
    (tmp_path / "t.tsv").write_bytes("id\tbody\n1\twho is the café ?\n".encode("latin-1"))
    options = ["--text-column", "body", "--encoding", "latin-1"]
    assert predictions(tiny_run, tmp_path / "t.tsv", *options)[0][0] == "who is the café ?"
    assert predictions(tiny_run, "-", "--encoding", "latin-1", stdin=b"caf\xe9\n")[0][0] == "café"


def test_a_reader_that_leaves_early_is_no_error(tiny_run, tmp_path):
    """`ulmfit predict ... | head -1`, with more to say than a pipe holds"""
    (tmp_path / "many.txt").write_text("who is the poet of the red river ?\n" * 4000)
    process = start("predict", tmp_path / "many.txt", "--model", tiny_run)
    assert process.stdout.readline().endswith("\twho is the poet of the red river ?\n")
    leave(process)


def test_answers_may_go_to_a_device(tiny_run):
    process = start("predict", "who is it ?", "--model", tiny_run, "--out", "/dev/stdout")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "") and out.endswith("\twho is it ?\n")


def test_a_run_that_nobody_reads_any_more_stops_in_silence_and_goes_on(tiny_data, tiny_run, tmp_path):
    """`ulmfit run ... | head -1`; --resume where it was enough, the same command where it never began"""
    files = [tiny_data / "train.csv", "--test-file", tiny_data / "test.csv", "--pretrain-text", tiny_data / "text.txt"]
    process = start("run", *files, "--out", tmp_path / "run", *TINY)
    process.stdout.readline()
    leave(process)
    begun = (tmp_path / "run" / "config.yaml").exists()
    succeeds("run", *(["--resume"] if begun else [*files, *TINY]), "--out", tmp_path / "run")
    assert (tmp_path / "run" / "predictions.jsonl").read_bytes() == (tiny_run / "predictions.jsonl").read_bytes()


def leave(process):
    """Whoever reads it goes away. It says nothing more, and tells the shell that there was more to say."""
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(timeout=60) == 141
    process.stderr.close()


def test_evaluate_shows_error_interval_and_confusion(tiny_run, tiny_data):
    answer = succeeds("evaluate", tiny_data / "train.csv", "--model", tiny_run)
    assert "48 texts: error " in answer.out and "95 % interval" in answer.out and "macro F1" in answer.out
    numbers = json.loads(succeeds("evaluate", tiny_data / "train.csv", "--model", tiny_run, "--json").out)
    wrong = sum(n for (t, row) in enumerate(numbers["confusion"]) for p, n in enumerate(row) if t != p)
    assert numbers["error"] == pytest.approx(100 * wrong / 48)
    assert sum(itertools.chain(*numbers["confusion"])) == numbers["n"] == 48
    assert numbers["error_by_direction"] == {"forward": numbers["error"]} and "alone" not in answer.out


def test_each_direction_alone_is_evaluated_too(tiny_data, tmp_path):
    answer = train(tiny_data, tmp_path / "run", "--direction", "both", "--set", "classify.epochs=6")
    m = metrics(tmp_path / "run")
    assert f"Macro F1 of ULMFiT: {m['macro_f1']:.1f} %." in answer.out
    texts, labels = zip(*QUESTIONS, strict=True)
    alone = {}
    for direction in ("forward", "backward"):
        predicted = Predictor.load(tmp_path / "run" / direction).predict(texts)
        alone[direction] = 100 * sum(p != label for p, label in zip(predicted, labels, strict=True)) / len(labels)
    assert alone["forward"] != alone["backward"]
    evaluate = ["evaluate", tiny_data / "train.csv", "--model", tmp_path / "run"]
    assert json.loads(succeeds(*evaluate, "--json").out)["error_by_direction"] == pytest.approx(alone)
    said = succeeds(*evaluate).out
    assert all(f"\nits {direction} classifier alone: error {e:.1f} %" in said for direction, e in alone.items())


def test_quickstart_trains_with_the_shipped_model_and_without_on_the_data_of_the_package(tmp_path, monkeypatch):
    """Its real recipe takes minutes and is run by `make quickstart`; here only what it asks for."""
    asked, shown = [], []

    def remember(config, out, device, **how):
        asked.append((config, out, how))
        return len(asked)

    monkeypatch.setattr("ulmfit.commands.train._train", remember)
    monkeypatch.setattr("ulmfit.commands.train._report", lambda *metrics: shown.append(metrics))
    monkeypatch.setattr("ulmfit.report.errors_table", lambda metrics: "")
    out = tmp_path / "q"
    assert ulmfit("quickstart", "--seed", "3", "--out", out).code == 0
    config = asked[0][0]
    assert (config.dataset, config.pretrained, config.data_dir, config.seed) == ("questions", "shipped", None, 3)
    assert config.stages == ("finetune", "classify") and config.recipe == QUICKSTART
    assert [how.pop("smaller") for *_, how in asked] == [BY_HAND] * 2  # it has no --set
    how = {"resume": False, "overwrite": True, "command": "quickstart", "whole": out}
    assert asked == [(config, out, how), (replace(config, pretrained="none"), out / "without", how)]
    assert shown == [(1, out, 2)]
