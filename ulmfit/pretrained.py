"""The language model that the stages after pre-training start from: the package's own, one from a folder, or one that
knows nothing yet.

The package brings two, one that reads forward and one that reads backward, in ulmfit/models; the README there is
their card.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from .config import DIRECTIONS, SCRATCH, SHIPPED
from .config_files import is_config, load_config
from .corpus import Corpus
from .errors import InputError
from .language_model import LanguageModel
from .model_files import MODEL, VOCAB, Loaded, load_model
from .provenance import fingerprint
from .run_dir import CONFIG
from .tasks import task_vocabulary

MODELS = Path(__file__).parent / "models"
CARD = "card.json"  # beside each of the package's models: what it is, and the sha256 of its files


def starting_model(config, texts, direction):
    """What a RunConfig says: -> a language model and its vocabulary. Raises InputError.

    texts: the task's own. From SCRATCH the model has random weights, and all words of these and no others.
    """
    if config.pretrained != SCRATCH:
        return load_pretrained(config.pretrained, direction)
    vocab = task_vocabulary(Corpus(texts), config.recipe)
    return LanguageModel(len(vocab), config.recipe.size, rng=np.random.default_rng(config.seed)), vocab


def model_folder(pretrained, direction) -> Path:
    """The folder that `pretrained` (SHIPPED or a folder) means for a direction.

    A folder may have sub-folders `forward` and `backward`. Raises InputError where it has only the other one, and where
    the package's own models are missing: an installation without its data files.
    """
    folder = MODELS if pretrained == SHIPPED else Path(pretrained)
    if (folder / direction / MODEL).is_file():
        return folder / direction
    if pretrained == SHIPPED:
        raise InputError(f"{folder / direction}: the package's model is missing; install minilstm anew, "
                         f"or name another model")  # fmt: skip
    (other,) = set(DIRECTIONS) - {direction}
    if (folder / other / MODEL).is_file() and not (folder / MODEL).is_file():
        raise InputError(f"{folder}: has a model in {other}/ and none in {direction}/; "
                         f"name another folder, or use --direction {other}")  # fmt: skip
    return folder


def load_pretrained(pretrained, direction):
    """-> the language model of a folder, or the package's, and its vocabulary. Raises InputError."""
    folder = model_folder(pretrained, direction)
    loaded = load_language_model(folder)
    if loaded.direction != direction:
        raise InputError(
            f"{folder}: reads {loaded.direction}, and a {direction} one is needed; name a folder with forward and "
            f"backward in it, or one direction with --direction"
        )
    # the package's models are older than the sha256 that a model has of its vocabulary
    if (folder / CARD).is_file() and read_card(folder)["vocab_sha256"] not in (None, fingerprint(loaded.vocab.itos)):
        raise InputError(f"{folder / VOCAB}: is not the file that {CARD} describes; install minilstm anew")
    return loaded.model, loaded.vocab


def load_language_model(folder) -> Loaded:
    """load_model, which names the language models inside where a classifier's folder is given."""
    try:
        return load_model(folder, "language_model")
    except InputError as e:
        homes = [home / stage for home in (folder, folder.parent) for stage in ("finetune", "pretrain")]
        inside = [str(home) for home in homes if any((home / part / MODEL).is_file() for part in ("", *DIRECTIONS))]
        raise InputError(f"{e}: {' or '.join(inside)}" if inside else str(e)) from None


def read_card(folder) -> dict:
    """Raises InputError where it is no card of this version."""
    try:
        return {"vocab_sha256": None} | json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError) as e:
        raise InputError(f"{folder / CARD}: cannot be read ({e}); install minilstm anew") from e


def fine_tuned_on(pretrained):
    """The RunConfig of the run that fine-tuned the language model in this folder, None where there is none to be read:
    the folder is that run's, or its `finetune`, or one direction's there."""
    if pretrained in (None, SHIPPED, SCRATCH):
        return None
    folder = Path(pretrained).resolve()
    for home in (folder, folder.parent, folder.parent.parent):
        if is_config(home / CONFIG):
            try:
                config = load_config(home / CONFIG)
            except InputError:  # of another version; the model itself is read all the same
                return None
            return config if "finetune" in config.stages else None
    return None


def check_start(config) -> tuple[str, ...] | None:
    """Whether each direction of a RunConfig has a model to start from -> their pretrained_sha256; None: they need none.

    Each is loaded to see that it can be. Raises InputError.
    """
    if config.pretrained in (None, SCRATCH):
        return None
    for direction in config.directions:
        load_pretrained(config.pretrained, direction)
    return tuple(pretrained_sha256(config.pretrained, direction) for direction in config.directions)


def pretrained_sha256(pretrained, direction) -> str:
    """The sha256 of the model file: "shipped" or a folder's name do not tell versions apart."""
    return hashlib.sha256((model_folder(pretrained, direction) / MODEL).read_bytes()).hexdigest()
