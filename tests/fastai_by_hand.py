"""Files of fastai's layout made by hand, without PyTorch, so that any of their parts can be changed."""

import pickle
import tarfile

import hostile
import numpy as np
from hostile import state, stream_form, tensor
from make_fastai_files import WORDS

E, H = 2, 3
SHAPES = {"0.encoder.weight": (11, E), "0.encoder_dp.emb.weight": (11, E)}
for n, (i, o) in enumerate([(E, H), (H, E)]):
    SHAPES |= {f"0.rnns.{n}.weight_hh_l0_raw": (4 * o, o), f"0.rnns.{n}.module.weight_ih_l0": (4 * o, i)}
    SHAPES |= {f"0.rnns.{n}.module.{name}_l0": (4 * o,) for name in ("bias_ih", "bias_hh")}
SHAPES |= {"1.decoder.weight": (11, E), "1.decoder.bias": (11,)}
SHARED = {"0.encoder_dp.emb.weight": "0.encoder.weight", "1.decoder.weight": "0.encoder.weight"}
WORDS_2 = [*WORDS["2"][:9], "cat", "dog"]


def arrays(**changes):
    """{name: array} of a model with two layers; `changes` gives arrays, or None for what is to be left out."""
    rng = np.random.default_rng(0)
    made = {name: rng.standard_normal(shape).astype("<f4") for name, shape in SHAPES.items()}
    made |= {name: made[first] for name, first in SHARED.items()}
    return {name: a for name, a in (made | changes).items() if a is not None}


def pth(arrays):
    """A file of torch in the form of a stream, each array in a storage of its own."""
    kinds = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long"}
    values, storages = {}, {}
    for key, (name, a) in enumerate(arrays.items()):
        where = hostile.storage(str(key), ("torch", kinds[a.dtype.str[1:]] + "Storage"), a.size)
        values[name] = tensor(where, 0, a.shape, [s // a.itemsize for s in a.strides])
        storages[str(key)] = (a.size, a.tobytes())
    return stream_form(state(**values), storages)


def folder(path, weights=None, words=WORDS_2, name="lstm_fwd.pth"):
    path.mkdir(exist_ok=True)
    (path / name).write_bytes(pth(arrays()) if weights is None else weights)
    (path / "itos_wt103.pkl").write_bytes(pickle.dumps(words) if isinstance(words, list) else words)
    return path


def content_of(archive):
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}
