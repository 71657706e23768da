"""Options, constants, folders and configurations that cannot be used: for the tests, and for tests/torture."""

from bad_files import Mistake, cases

from ulmfit.config_files import change_recipe, load_config
from ulmfit.recipes import LAPTOP
from ulmfit.run_dir import check

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
    "resume without a place": (["run", "--resume"], ["--resume needs --out: the folder of the run to continue"]),
    "overwrite without a place": (["run", "questions", "--overwrite"], ["--overwrite needs --out: the folder"]),
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


def command_line(arguments, parts, place):
    return Mistake(arguments, parts)


CONSTANTS = {
    "lr=0.1": ["there is no constant 'lr'; did you mean pretrain.lr, finetune.lr, classify.lr?"],
    "classify.epochz=3": ["did you mean classify.epochs"],
    "clasify.epochs=3": ["; did you mean classify.epochs?"],
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


def constant(change, parts, place):
    arguments = ["run", "trec6", "--set", change, "--out", place.folder / "run"]
    return Mistake(arguments, [f"--set {change}: ", *parts], call=lambda: change_recipe(LAPTOP, [change]))


# --- where the run is to go


OUT_FOLDERS = {
    "a file": ("file", [], ["is a file; name a folder"]),
    "below a file": ("file/run", [], ["cannot be written", "choose another --out"]),
    "a run": ("run", [], ["--resume continues it, --overwrite starts anew"]),
    "something else": ("full", [], ["is not empty; name another --out"]),
    "something else, overwrite": ("full", ["--overwrite"], ["is not a run directory", "name another --out"]),
    "nothing to resume": ("new", ["--resume"], ["no run to resume there", "leave out --resume"]),
    "a name too long": ("x" * 300, [], ["cannot be written"]),
    "no rights": ("locked/run", [], ["cannot be written", "choose another --out"]),
}


def out_folder(out, options, parts, place):
    (place.folder / "file").touch()
    for folder in ("run", "full", "locked"):
        (place.folder / folder).mkdir()
    (place.folder / "locked").chmod(0o500)
    (place.folder / "full" / "thesis.tex").touch()
    (place.folder / "run" / "config.yaml").write_bytes((place.run / "config.yaml").read_bytes())
    path, how = place.folder / out, {option.strip("-"): True for option in options}
    arguments = ["run", "trec6", "--out", path, *options]
    return Mistake(arguments, [path, *parts], call=lambda: check(path, **how))


# --- what is replayed


CONFIGS = {
    "unknown key": (("seed: 1", "sede: 1"), ["unknown key 'sede'; did you mean 'seed'?"]),
    "wrong type": (("seed: 1", "seed: one"), ["seed: expected a whole number, got 'one'"]),
    "a value that cannot be": (("layers: 1", "layers: 0"), ["recipe.size.layers: expected a whole number from 1"]),
    "no YAML": (("seed: 1", "seed: ["), ["not YAML: line "]),
    "orders to Python": (("seed: 1", "seed: !!python/object/apply:os.getpid []"), ["not YAML", "tag"]),
}


def configuration(change, parts, place):
    path = place.folder / "config.yaml"
    path.write_text((place.run / "config.yaml").read_text().replace(*change))
    arguments = ["run", "--config", path, "--out", place.folder / "run"]
    return Mistake(arguments, [f"{path}: ", *parts], call=lambda: load_config(path))


LINE_CASES = cases(command_line, COMMAND_LINES | IDLE)
CONSTANT_CASES = cases(constant, {change: (change, parts) for change, parts in CONSTANTS.items()})
OUT_CASES, CONFIG_CASES = cases(out_folder, OUT_FOLDERS), cases(configuration, CONFIGS)
CASES = {"command line": LINE_CASES, "constant": CONSTANT_CASES, "folder": OUT_CASES, "configuration": CONFIG_CASES}
