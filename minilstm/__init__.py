"""minilstm: an LSTM with explicit backpropagation through time, and no autograd anywhere.

Legend
    T time, B batch, I input size, H hidden size, E embedding size, V vocabulary, C classes. Arrays are time-major,
    (T, B, ...). Gates lie in the order i, f, g, o. A gradient is called `d` + the name of what it belongs to.
    Every layer is two neighbours, `forward` and `backward`; what backward needs is a value that forward returns.

Reading order
    activations, gates      six equations and their undoing
    recurrence              the loop over time; choosing a faster implementation
    lstm                    the whole layer
    dropout, stack          masks, and layers on top of each other
    wavefront               the same layers side by side, on a GPU
    gradcheck               why you may believe it
    embedding, linear, batchnorm, pooling, loss, regularization
    params, optim, clipping, checkpoint
    twins, threads          the way to the compiled kernels
"""

from .activations import relu_backward, relu_forward, sigmoid
from .arrays import get_array_module, to_device, to_numpy
from .batchnorm import BatchNorm, RunningStats
from .checkpoint import CheckpointError, load_arrays, load_state_dict, save_arrays, to_state_dict
from .clipping import NonFiniteError, clip_grad_norm, clip_scale, grad_norm
from .dropout import MaskSource, dropout_backward, dropout_forward
from .embedding import Embedding
from .gradcheck import gradcheck
from .linear import Linear
from .loss import linear_cross_entropy, softmax_cross_entropy_backward, softmax_cross_entropy_forward
from .lstm import LSTM, LSTMCache, LSTMState
from .optim import ASGD, SGD, Adam, triggered
from .params import count_params, move
from .pooling import concat_pool_backward, concat_pool_forward
from .recurrence import Plan, Recurrence, available_kernels
from .regularization import (
    activation_regularization_backward,
    activation_regularization_forward,
    temporal_activation_regularization_backward,
    temporal_activation_regularization_forward,
)
from .stack import LSTMStack, StackCache
from .threads import get_num_threads, num_threads, set_num_threads

__version__ = "0.1.0"

__all__ = [
    "LSTM", "LSTMCache", "LSTMStack", "LSTMState", "StackCache", "Recurrence", "Plan", "available_kernels",
    "Embedding", "Linear", "BatchNorm", "RunningStats", "relu_forward", "relu_backward", "sigmoid",
    "MaskSource", "dropout_forward", "dropout_backward", "concat_pool_forward", "concat_pool_backward",
    "softmax_cross_entropy_forward", "softmax_cross_entropy_backward", "linear_cross_entropy",
    "activation_regularization_forward", "activation_regularization_backward",
    "temporal_activation_regularization_forward", "temporal_activation_regularization_backward",
    "SGD", "ASGD", "triggered", "Adam", "clip_grad_norm", "clip_scale", "grad_norm", "NonFiniteError", "gradcheck",
    "save_arrays", "load_arrays", "CheckpointError", "to_state_dict", "load_state_dict", "count_params",
    "get_array_module", "to_device", "to_numpy", "move", "get_num_threads", "set_num_threads", "num_threads",
]
