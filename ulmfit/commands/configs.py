"""What was typed as a RunConfig; or one line, in the words of the command line, on why it cannot be one."""

from pathlib import Path

from ..errors import InputError

OF_OWN_FILES = {"test_file": None, "text_column": "text", "label_column": "label", "encoding": "utf-8"}


def make_config(*, recipe="laptop", changes=None, dataset=None, **fields):
    """A RunConfig from what was typed; paths become absolute, so that a replay finds them from anywhere.

    Raises InputError, in the words of the command line, for what cannot be and for options that would change nothing.
    """
    from ..config import SCRATCH, SHIPPED, RunConfig, check
    from ..config_files import change_recipe, choose_recipe
    from ..tables import is_table_path

    chosen = change_recipe(choose_recipe(recipe), changes or ())
    _refuse_idle(dataset, changes or (), fields)
    for name in ("data_dir", "test_file", "pretrained"):
        if fields.get(name) not in (None, "", SHIPPED, SCRATCH):
            fields[name] = str(Path(fields[name]).resolve())
    if dataset is not None and is_table_path(dataset):
        dataset = str(Path(dataset).resolve())
    if fields.get("pretrain_text") and Path(fields["pretrain_text"]).exists():
        fields["pretrain_text"] = str(Path(fields["pretrain_text"]).resolve())
    config = RunConfig(dataset=dataset, recipe=chosen, **fields)
    try:
        check(config)
    except InputError as e:
        name, _, problem = str(e).partition(": ")
        typed = {"dataset": "DATASET", "pretrain_text": "--pretrain-text" if dataset else "--text"}
        raise InputError(f"{typed.get(name, '--' + name)}: {problem}") from None
    return config


def _refuse_idle(dataset, changes, fields):
    """Options that would change nothing: whoever gives one expects something of it."""
    from ..config import STAGES
    from ..datasets import CORPORA, DATASETS, EMBEDDED
    from ..tables import is_table_path

    sources = [s for s in (dataset, fields.get("pretrain_text")) if s]
    official = {*DATASETS, *CORPORA} - {EMBEDDED}
    here = [s for s in sources if s not in official and (s == EMBEDDED or is_table_path(s) or Path(s).exists())]
    if fields.get("data_dir") is not None and sources and here == sources:
        raise InputError(f"--data-dir holds official files, and {' and '.join(here)} needs none; leave it out")
    for name, default in OF_OWN_FILES.items():
        if dataset in DATASETS and fields.get(name, default) != default:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} is for a file of your own, and {dataset} is known by name; leave it out")
    stages = fields.get("stages", STAGES[1:])
    for change in changes:
        stage = change.partition("=")[0].partition(".")[0].strip()
        stage = "pretrain" if stage in ("vocab_size", "min_freq") else stage  # of the text to pre-train on
        if stage in STAGES and stage not in stages:
            raise InputError(f"--set {change}: the stage {stage} is not done here ({', '.join(stages)}); leave it out")
