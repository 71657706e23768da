"""Language models in the files of fastai, small, made with PyTorch; and what they say, computed by PyTorch.

    python tests/make_fastai_files.py

writes a few to tests/golden/fastai, with their logits, for the machines where PyTorch is not installed.
"""

import io
import pickle
import sys
import tarfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "fastai"
PLAIN = ["the", ",", "of", "paris", "émue", "\n\n"]
WORDS = {  # by the generation of fastai; v1 fills up to a multiple of 8 with one and the same word, v2 later numbers it
    "0.7": ["_unk_", "_pad_", *PLAIN, "t_up", "xbos", "tk_rep", "xfld", "tk_wrep"],
    "1": "xxunk xxpad xxbos xxeos xxfld xxmaj xxup xxrep xxwrep".split() + PLAIN + ["xxfake", "xxfake"],
    "2": "xxunk xxpad xxbos xxeos xxfld xxrep xxwrep xxup xxmaj".split() + PLAIN + ["xxfake0"],
}


class Case(NamedTuple):
    """One way in which such a file came to be."""

    generation: str  # of WORDS
    embedding: int = 3
    hidden: int = 4
    layers: int = 3
    dtype: str = "float32"
    zip: bool = False  # torch's form since version 1.6
    wrapped: bool = False  # {"model": …, "opt": …}
    encoder_only: bool = False
    direction: str = "fwd"
    protocol: int = 3  # of the words' pickle
    seed: int = 0


CASES = {
    "wt103-fwd": Case("1", dtype="float16"),
    "wt103-bwd": Case("2", layers=2, zip=True, wrapped=True, direction="bwd", protocol=4),
    "old-fwd": Case("0.7", hidden=5),
}
IDS = np.array([[2, 7, 8], [9, 3, 11], [4, 12, 0], [5, 9, 9]])  # (T, B), rows of the file


class Model:
    """AWD-LSTM without dropout in PyTorch: ids (T, B) -> embedding -> single LSTM layers -> tied decoder."""

    def __init__(self, case):
        import torch

        torch.manual_seed(case.seed)
        self.case, self.words = case, WORDS[case.generation]
        E, H, V = case.embedding, case.hidden, len(self.words)
        sizes = [E] + [H] * (case.layers - 1) + [E]
        self.embedding = torch.nn.Embedding(V, E)
        self.rnns = [torch.nn.LSTM(i, o) for i, o in zip(sizes[:-1], sizes[1:], strict=True)]
        has_bias = case.generation != "0.7" and not case.encoder_only
        self.bias = torch.randn(V) if has_bias else torch.zeros(V)
        self.cast = lambda tensor: tensor.detach().to(getattr(torch, case.dtype))
        for tensor in (self.embedding.weight, self.bias, *(p for rnn in self.rnns for p in rnn.parameters())):
            tensor.data = self.cast(tensor).float()  # what the file will say
        self.torch = torch

    def logits(self, ids):
        """ids (T, B) -> (T, B, V)"""
        with self.torch.no_grad():
            x = self.embedding(self.torch.from_numpy(ids))
            for rnn in self.rnns:
                x, _ = rnn(x)
            return (x @ self.embedding.weight.T + self.bias).numpy()

    def state(self):
        """The state dictionary under fastai's names. What is one tensor there, or a view, is one here."""
        case, weight, state = self.case, self.cast(self.embedding.weight), OrderedDict()
        copy = "encoder_with_dropout.embed" if case.generation == "0.7" else "encoder_dp.emb"
        state["0.encoder.weight"] = state[f"0.{copy}.weight"] = weight
        for n, rnn in enumerate(self.rnns):
            for name, p in rnn.named_parameters():
                name, p = f"0.rnns.{n}.module.{name}", self.cast(p)
                if not name.endswith("weight_hh_l0"):
                    state[name] = p
                elif case.generation == "0.7":
                    state[f"{name}_raw"] = p
                else:
                    state[f"0.rnns.{n}.weight_hh_l0_raw"] = p
                    state[name] = p.clone()
        state["1.decoder.weight"] = weight
        if case.generation != "0.7":
            state["1.decoder.bias"] = self.cast(self.bias)
        if case.encoder_only:
            state = OrderedDict((k.removeprefix("0."), p) for k, p in state.items() if k.startswith("0."))
        return state

    def optimiser(self):
        """What Adam's state_dict() has after a step of fastai, whose rates are NumPy's numbers."""
        mean = self.torch.ones_like(self.embedding.weight)
        group = {"lr": np.float64(0.01), "betas": (0.9, 0.99), "amsgrad": False, "foreach": None, "params": [0]}
        return {"state": {0: {"step": 1, "exp_avg": mean, "exp_avg_sq": mean**2}}, "param_groups": [group]}

    def content(self, change=lambda state: state):
        """The bytes of the .pth file; `change` may alter the state before."""
        state = change(self.state())
        file = io.BytesIO()
        state = {"model": state, "opt": self.optimiser()} if self.case.wrapped else state
        self.torch.save(state, file, _use_new_zipfile_serialization=self.case.zip)
        return file.getvalue()

    def files(self, change=lambda state: state):
        """{name: content}, as they lie in fastai's archives"""
        way = self.case.direction
        name = f"{way}_wt103.h5" if self.case.generation == "0.7" else f"lstm_{way}.pth"
        return {name: self.content(change), "itos_wt103.pkl": pickle.dumps(self.words, self.case.protocol)}


def write_tar(path, files):
    """{name: content, or a TarInfo without content} as a gzipped tar file"""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    models = {name: Model(case) for name, case in CASES.items()}
    np.savez_compressed(GOLDEN / "logits.npz", **{name: model.logits(IDS) for name, model in models.items()})
    for name, model in models.items():
        path = write_tar(GOLDEN / f"{name}.tgz", model.files())
        print(f"{path}: {path.stat().st_size} bytes", file=sys.stderr)
