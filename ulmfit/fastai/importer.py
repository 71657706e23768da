"""fastai's published AWD-LSTM language models as ours: weights, words, and the names of both.

    0.encoder.weight                     (V, E)     encoder.embedding.weight, and so of two more entries:
    0.encoder_dp.emb.weight, 1.decoder.weight       the same numbers: dropped when they agree, else refused
    0.rnns.N.module.weight_ih_l0        (4H, I)     encoder.lstm.weight_ih_lN, and so of bias_ih, bias_hh, weight_hh
    0.rnns.N.weight_hh_l0_raw           (4H, H)     encoder.lstm.weight_hh_lN; the module's own is a copy, maybe with
                                                    weight drop in it: the raw one counts
    1.decoder.bias                         (V,)     decoder.bias; zeros where there is none (fastai 0.7, encoders)

fastai 0.7 says encoder_with_dropout.embed and module.weight_hh_l0_raw; a file of `save_encoder` has no "0." and no
decoder. Gates lie in PyTorch's order, which is ours, both biases stay. H was 1150, and is 1152 since 2019: all sizes
are taken from the arrays. Names: fastai/text/models/awd_lstm.py and learner.py (1.x), lm_rnn.py (0.7).

Our tokenizer follows fastai v2, whose special tokens are those of v1 in another order: the models of v1 and v2
(wt103-fwd, wt103-bwd) fit, but for runs of three, which v1 left as they were. Those of 0.7 know no xxmaj, and marked
capitals from three letters on: they can be imported, and meet tokens that they have never seen.
"""

import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from minilstm.params import assign, non_finite

from ..errors import InputError
from ..language_model import LanguageModel, grow_vocabulary
from ..model_files import MODEL, VOCAB, save_model
from ..recipes import ModelSize
from ..run_dir import check
from ..text import BOS, FLD, PAD, REP, SPECIAL_TOKENS, UNK, UP, WREP
from ..vocab import Vocab
from .archive import find
from .plain_pickle import read_pickle
from .torch_files import read_state_dict

EMBEDDING, BIAS = "encoder.embedding.weight", "decoder.bias"
ENTRIES = {  # names in the file -> ours
    r"(0\.)?(encoder|encoder_dp\.emb|encoder_with_dropout\.embed)\.weight|1\.decoder\.weight": EMBEDDING,
    r"1\.decoder\.bias": BIAS,
    r"(?:0\.)?rnns\.(\d{1,3})\.(?:module\.)?((?:weight|bias)_[ih]h)_l0": r"encoder.lstm.\2_l\1",
    r"(?:0\.)?rnns\.(\d{1,3})\.(?:module\.)?(weight_hh)_l0_raw": r"encoder.lstm.\2_l\1",
}
RAW = "_raw"
OLD_WORDS = {  # fastai 0.7's special tokens
    "_unk_": UNK, "_pad_": PAD, "xbos": BOS, "xfld": FLD, "tk_rep": REP, "tk_wrep": WREP, "t_up": UP,
}  # fmt: skip
FILLING = re.compile(r"xxfake\d*")  # words that make the vocabulary a multiple of 8
MAX_LISTED = 20


def import_fastai(source, out, *, direction=None, itos=None) -> dict:
    """Write a language model of fastai as a folder that `--pretrained` takes -> what was found, for a report.

    source: wt103-fwd.tgz, a folder with such files, or a .pth or .h5 file; itos: the list of words, if not beside it;
    direction: for files whose names do not say fwd or bwd. `out` must be new or empty, and is so again after an error.
    Keys: weights, words, direction, dtype, size (embedding, hidden, layers), vocab_size, notes. Raises
    InputError, in one line, for whatever is not such a model; nothing in the files is executed.
    """
    with _place_for(Path(out)) as folder:
        return _import(source, folder, direction, itos)


@contextmanager
def _place_for(out):
    """-> `out`, checked before hundreds of MB are read; what has been made is gone again if they are no model."""
    made = [folder for folder in (out, *out.parents) if not os.path.exists(folder)]  # innermost first
    check(out)
    try:
        yield out
    except BaseException:
        with suppress(OSError):
            for file in (MODEL, VOCAB):
                (out / file).unlink(missing_ok=True)
            for folder in made:
                folder.rmdir()
        raise


def _import(source, out, direction, itos):
    found = find(source, direction, itos)
    state = read_state_dict(found.weights, found.weights_name)
    entries = _entries(state, found.weights_name)
    size = _check_shapes(state, entries, found.weights_name)
    params, notes = _params(state, entries, found.weights_name)
    words = _read_words(found.words, found.words_name)
    if len(words) != len(params[EMBEDDING]):
        raise InputError(f"{found.words_name}: has {len(words)} words, and {found.weights_name} has "
                         f"{len(params[EMBEDDING])} rows; give the two files of one model")  # fmt: skip
    vocab, rows, more_notes = _fit_words(words)
    model = LanguageModel(len(vocab), size, rng=np.random.default_rng(0))  # the initial weights are overwritten
    assign(model.params, grow_vocabulary(params, rows))
    try:
        save_model(out, model, vocab, found.direction)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error}); choose another --out") from error
    return {
        "weights": found.weights_name, "words": found.words_name, "direction": found.direction,
        "dtype": str(state[entries[EMBEDDING][0]].dtype),
        "size": {"embedding": size.embedding, "hidden": size.hidden, "layers": size.layers},
        "vocab_size": len(vocab), "notes": notes + more_notes,
    }  # fmt: skip


# --- weights


def _entries(state, file):
    """{our name: its names in the file}, the raw weights before their copies."""
    entries, foreign = {}, []
    for name in sorted(state, key=lambda name: not name.endswith(RAW)):
        matches = ((re.fullmatch(pattern, name, re.ASCII), ours) for pattern, ours in ENTRIES.items())
        ours = next((match.expand(ours) for match, ours in matches if match), None)
        if ours is None:
            foreign.append(f"{name!a:.80}")
        else:
            entries.setdefault(ours, []).append(name)
    if foreign or EMBEDDING not in entries:
        found = f"found also {_listed(foreign)}" if foreign else "found no encoder.weight"
        raise InputError(f"{file}: expected an AWD-LSTM language model or its encoder, {found}; give the file that "
                         "fastai's save or save_encoder wrote for a language model")  # fmt: skip
    return entries


def _check_shapes(state, entries, file) -> ModelSize:
    """The sizes that the arrays have, if they have one embedding size, one hidden size, and four gates everywhere."""
    layers = sum(name.startswith("encoder.lstm.weight_hh_l") for name in entries)
    V, E = (*state[entries[EMBEDDING][0]].shape, 0, 0)[:2]
    first = entries.get("encoder.lstm.weight_hh_l0")
    H = state[first[0]].shape[-1] if first and layers > 1 and state[first[0]].ndim else E
    expected = {EMBEDDING: (V, E), BIAS: (V,)}
    for n in range(layers):
        I, O = E if n == 0 else H, E if n == layers - 1 else H
        shapes = {"weight_ih": (4 * O, I), "weight_hh": (4 * O, O), "bias_ih": (4 * O,), "bias_hh": (4 * O,)}
        expected |= {f"encoder.lstm.{part}_l{n}": shape for part, shape in shapes.items()}
    faults = [f"{ours}: missing" for ours in expected if ours not in entries and ours != BIAS]
    foreign = [name for ours in entries if ours not in expected for name in entries[ours]]
    faults += [f"{name}: not expected in a stack of {layers}" for name in foreign]
    for ours, shape in expected.items():
        for name in entries.get(ours, ()):
            if state[name].shape != shape or 0 in shape:
                faults.append(f"{name}: expected shape {shape}, got {state[name].shape}")
            elif state[name].dtype.kind != "f":
                faults.append(f"{name}: expected floating-point numbers, got {state[name].dtype}")
    if faults or not layers:
        raise InputError(f"{file}: its arrays make no AWD-LSTM: {_listed(faults or ['no LSTM layers'])}; get the file "
                         "again, or give one of an LSTM in one direction")  # fmt: skip
    return ModelSize(embedding=E, hidden=H, layers=layers)


def _params(state, entries, file):
    """-> our parameters in float32 with the file's rows, notes"""
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 becomes infinite: see below
        params = {ours: np.asarray(state[names[0]], np.float32) for ours, names in entries.items()}
    if broken := non_finite(params):
        raise InputError(f"{file}: not a number or infinite in {_listed([entries[n][0] for n in broken])}; "
                         "the training of this model has failed, take another")  # fmt: skip
    notes = []
    for first, *others in entries.values():
        different = [name for name in others if not np.array_equal(state[name], state[first])]
        if different and not first.endswith(RAW):
            raise InputError(f"{file}: {first} and {different[0]} must be equal (tied weights, or copies) and differ; "
                             "take a model of fastai's AWD_LSTM with tied weights")  # fmt: skip
        notes += [f"{name} differs from {first} (weight drop): the latter was taken" for name in different]
    if BIAS not in params:
        params[BIAS] = np.zeros(len(params[EMBEDDING]), np.float32)
        notes.append("no decoder bias in the file: zeros")
    return params, notes


def _listed(items):
    more = f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return "; ".join(items[:MAX_LISTED]) + more


# --- words


def _read_words(data, file) -> list[str]:
    """A pickled list of texts."""
    try:
        words, end = read_pickle(data)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or end != len(data):
            raise ValueError("it is something else")
    except ValueError as error:
        raise InputError(f"{file}: expected a pickled list of words: {error}; give the file itos….pkl") from error
    return words


def _fit_words(words):
    """-> our vocabulary of a model's words, for each of its words the row in the model or -1, notes

    Our special tokens come first; 0.7's are renamed where ours are not in the list. Of a word that is there twice the
    first row counts; filling, and what no vocabulary of ours can hold, is left out.
    """
    there, row_of, dropped = set(words), {}, {"filling (xxfake)": 0, "repeated": 0, "empty or not UTF-8": 0}
    for row, word in enumerate(words):
        new = OLD_WORDS.get(word, word)
        word = word if new in there else new
        if FILLING.fullmatch(word):
            dropped["filling (xxfake)"] += 1
        elif not word or any("\ud800" <= letter <= "\udfff" for letter in word):
            dropped["empty or not UTF-8"] += 1
        elif word in row_of:
            dropped["repeated"] += 1
        else:
            row_of[word] = row
    vocab = Vocab((*SPECIAL_TOKENS, *(word for word in row_of if word not in SPECIAL_TOKENS)))
    notes = [f"{n} words left out: {why}" for why, n in dropped.items() if n]
    renamed = [f"{words[row_of[t]]} is {t}" for t in SPECIAL_TOKENS if t in row_of and words[row_of[t]] != t]
    if renamed:
        notes.append(f"special tokens of fastai 0.7, which marked capitals otherwise: {', '.join(renamed)}")
    if missing := [t for t in SPECIAL_TOKENS if t not in row_of]:
        notes.append(f"special tokens that the model lacks, now the mean of all rows: {', '.join(missing)}")
    return vocab, [row_of.get(token, -1) for token in vocab.itos], notes
