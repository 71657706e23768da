"""What a language model is asked for on the command line: a perplexity, a text; and what an import has found."""

import json
import math
import shlex
import sys
from pathlib import Path

from ..config import SHIPPED
from ..corpus import note_a_table
from ..datasets import CORPORA, load_corpus
from ..devices import loaded_to
from ..errors import InputError
from ..generate import LIMITS, check_sampling, generate
from ..model_files import Loaded
from ..perplexity import text_perplexity
from ..pretrained import load_language_model, model_folder
from ..printable import printable
from ..progress import counted
from ..report import program
from ..text import tokenize


def open_language_model(model, direction=None, device="cpu") -> Loaded:
    """model: SHIPPED (or None), the folder of a language model, or a folder with `forward` and `backward` in it.

    direction: what it has to be; None: whatever it is, forward where there are both. device: where it computes. Raises
    InputError; where a classifier's folder is given, it names the language models inside of it.
    """
    model = SHIPPED if model is None else model
    if model != SHIPPED and Path(model).is_file():
        raise InputError(f"{model}: is a file; --model takes the folder of a language model")
    folder = model_folder(model, direction or "forward")
    loaded = load_language_model(folder)
    if direction not in (None, loaded.direction):
        raise InputError(f"{folder}: reads {loaded.direction}; leave out --direction, or name another --model")
    return loaded_to(loaded, device)


def print_perplexity(progress, file, model, direction, device, *, split, data_dir, encoding, batch_size, as_json):
    """The perplexity of a text under a language model, as lines or as JSON; how far it is, on a Progress.
    split: None is WikiText's test part."""
    if split is not None and file not in CORPORA and Path(file).exists():
        raise InputError(f"--split {split}: WikiText by name has parts, {file} is read as a whole; leave it out")
    if data_dir is not None and file not in CORPORA and Path(file).exists():
        raise InputError(f"--data-dir holds official files, and {file} needs none; leave it out")
    loaded = open_language_model(model, direction, device)
    texts = load_corpus(file, split=split or "test", data_dir=data_dir, encoding=encoding)
    note_a_table(file, progress)
    try:
        result = text_perplexity(
            loaded.model, loaded.vocab, texts, loaded.direction, batch_size=batch_size, progress=progress
        )
    finally:
        progress.end()  # gives the terminal back
    if as_json:
        numbers = {k: None if isinstance(v, float) and math.isinf(v) else v for k, v in result._asdict().items()}
        print(json.dumps(numbers))
        return
    known = "-" if result.known_perplexity is None else f"{result.known_perplexity:,.2f}"
    streams = f"in {result.streams} streams" if result.streams > 1 else "in one piece"
    documents, tokens = counted(result.documents, "document"), counted(result.tokens, "token")
    print(f"text         {documents}, {tokens}, read {result.direction} {streams}")
    print(f"unknown      {result.unknown_percent:.2f} % of the tokens; to the model they are all one word, xxunk")
    bits = f"{result.bits_per_token:.3f} bits per token"
    print(f"perplexity   {result.perplexity:,.2f} ({bits}); over known words only: {known}")
    print(f"vocabulary   {counted(result.vocab_size, 'word')}; perplexities compare where it is the same one")


def print_texts(prompt, model, direction, device, *, n, seed, **how):
    """n texts, each a line; each has a seed of its own, so that the first ones are the same whatever n is."""
    try:
        check_sampling(**{name: how[name] for name in LIMITS})
    except InputError as e:  # before the model is read, and in the command line's spelling
        raise InputError(f"--{e}".replace("_", "-")) from None
    loaded = open_language_model(model, direction, device)
    if strange := sorted({token for token in tokenize(prompt) if token not in loaded.vocab}):
        print(f"note: the model does not know {', '.join(strange)}, and reads xxunk there", file=sys.stderr)
    for k in range(n):
        text = generate(loaded.model, loaded.vocab, loaded.direction, prompt, seed=[seed, k], **how)
        print(printable(" ".join(text.split())), flush=True)  # fastai's models know line ends as words


def print_import(source, out, **options):
    """What was found in files of fastai's, and where it is now."""
    from ..fastai import import_fastai

    found = import_fastai(source, out, **options)
    size = found["size"]
    shape = f"embedding {size['embedding']}, hidden {size['hidden']}, {size['layers']} layers, {found['dtype']}"
    print(f"weights  {found['weights']}: {shape}, reads {found['direction']}")
    print(f"words    {found['words']}: {found['vocab_size']:,} in the vocabulary now")
    for note in found["notes"]:
        print(f"note     {note}")
    print(f"saved    {out}; try it: {program()} generate Once upon a time --model {shlex.quote(str(out))}")
