"""fastai's published language models, read without PyTorch and without executing anything in them.

    archive.py         the two files of a model, from a tar, a folder or side by side
    plain_pickle.py    pickles as plain data: an own, small stack machine that knows nothing else
    torch_tensors.py   what a tensor is in such a pickle
    torch_files.py     the two forms of PyTorch's files
    importer.py        names, shapes and words of fastai's models made ours
"""

from .importer import import_fastai

__all__ = ["import_fastai"]
