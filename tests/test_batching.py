"""Batches: every word and text in its place, once an epoch, and the same whenever they are asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds

from ulmfit.batching import PAD_ID, LMBatches, TextBatches, evaluation_batches, pad_batch, text_windows
from ulmfit.errors import InputError
from ulmfit.vocab import Vocab

bptts = st.integers(1, 7)
batch_sizes = st.integers(1, 9)
document_lengths = st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(lambda lengths: sum(lengths) >= 2)


def documents_of(lengths):
    """Documents whose words are all different: 0, 1, 2, ..."""
    return np.split(np.arange(sum(lengths), dtype=np.int32), np.cumsum(lengths)[:-1])


def epoch_of(batches, epoch=0):
    return [batches[step] for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch)]


def some_lm_batches(lengths, variable):
    return st.builds(
        lambda lengths, batch_size, bptt, seed: LMBatches(
            documents_of(lengths), batch_size, bptt, seed, variable=variable
        ),
        lengths, batch_sizes, bptts, st.integers(0, 99),
    )  # fmt: skip


lm_batches = some_lm_batches(document_lengths, False)
variable_batches = some_lm_batches(document_lengths.map(lambda lengths: [5 * n for n in lengths]), True)


# --- language models


@given(batches=lm_batches | variable_batches, epoch=st.integers(0, 3))
def test_targets_are_the_next_words_and_streams_run_on_from_window_to_window(batches, epoch):
    windows = epoch_of(batches, epoch)
    ids = np.concatenate([w.ids for w in windows])
    targets = np.concatenate([w.targets for w in windows])
    assert ids.shape == targets.shape == (batches.stream_length, batches.batch_size)
    assert (targets[:-1] == ids[1:]).all()  # within each stream
    order = np.random.default_rng([batches.seed, epoch]).permutation(len(batches.documents))
    text = np.concatenate([batches.documents[n] for n in order])
    assert (ids.T.ravel() == text[: ids.size]).all()  # stream after stream, the text in its order
    assert (targets.T.ravel() == text[1 : ids.size + 1]).all()  # and the end of a stream knows the next one's first


@given(batches=lm_batches | variable_batches, epoch=st.integers(0, 3))
def test_an_epoch_reads_every_word_once_but_for_a_few_at_its_end(batches, epoch):
    """Left out: at most B words of the epoch's end, the last of which still is a target."""
    read = np.concatenate([w.ids.ravel() for w in epoch_of(batches, epoch)])
    assert len(np.unique(read)) == len(read)
    assert 1 <= batches.n_tokens - len(read) <= batches.batch_size


@given(batches=lm_batches)
def test_windows_have_bptt_words_and_the_last_the_rest(batches):
    sizes = [len(w.ids) for w in epoch_of(batches)]
    assert sizes[:-1] == [batches.bptt] * (len(sizes) - 1) and 1 <= sizes[-1] <= batches.bptt
    assert [w.starts_epoch for w in epoch_of(batches, 2)] == [True] + [False] * (len(sizes) - 1)


long_variable = st.builds(
    lambda n, batch_size, bptt, seed: LMBatches([np.arange(n)], batch_size, bptt, seed, variable=True),
    st.integers(2, 3000), st.integers(1, 4), st.integers(1, 80), st.integers(0, 99),
)  # fmt: skip


@given(batches=long_variable)
def test_windows_of_variable_length_cover_a_stream_in_as_many_steps_each_epoch(batches):
    orders = []
    for epoch in range(3):
        windows = epoch_of(batches, epoch)  # steps_per_epoch of them
        assert [w.starts_epoch for w in windows] == [True] + [False] * (len(windows) - 1)
        orders.append([len(w.ids) for w in windows])
        assert sum(orders[-1]) == batches.stream_length and min(orders[-1]) >= 1
        assert min(orders[-1][:-1], default=5) >= 5  # only the rest may be shorter
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    different = len(set(orders[0][:-1])) > 2  # with bptt=1 all of them are 5
    assert len(orders[0]) < 12 or not different or len(set(map(tuple, orders))) == 3


def test_variable_lengths_are_drawn_as_awd_lstm_lm_draws_them():
    """max(5, int(N(base, 5))), the base being bptt 19 times in 20, else half of it: by moments, over many windows."""
    batches = LMBatches([np.zeros(2_000_000, np.int32)], 1, 70, 3, variable=True)
    lengths = batches.lengths[:-1]
    n = len(lengths)
    short = lengths < 52  # 35 + 3.4 and 70 - 3.6 standard deviations
    assert n == pytest.approx(2_000_000 / 67.75, rel=0.01) and short.mean() == pytest.approx(0.05, abs=0.006)
    for part, base in ((lengths[short], 35), (lengths[~short], 70)):
        assert part.mean() == pytest.approx(base - 0.5, abs=0.5) and part.std() == pytest.approx(5, abs=0.4)
    assert LMBatches([np.zeros(9_000, np.int32)], 1, 1, 3, variable=True).lengths[:-1].min() == 5
    assert (LMBatches([np.zeros(9_000, np.int32)], 1, 70, 4, variable=True).lengths[:20] != lengths[:20]).any()


@given(batches=lm_batches | long_variable, step=st.integers(0, 50))
def test_a_batch_is_a_function_of_the_step_alone(batches, step):
    first = batches[step]
    batches[step + 30], batches[0]  # whatever is asked for in between
    options = {"variable": batches.variable}
    fresh = LMBatches(batches.documents, batches.batch_size, batches.bptt, batches.seed, **options)
    for again in (batches[step], fresh[step]):
        assert (again.ids == first.ids).all() and (again.targets == first.targets).all()
        assert again.starts_epoch == first.starts_epoch


def test_epochs_and_seeds_have_other_orders_unless_nothing_is_shuffled():
    documents = documents_of([5] * 20)

    def first(epoch=0, **options):
        batches = LMBatches(documents, 2, 7, **{"seed": 1, **options})
        return np.concatenate([w.ids for w in epoch_of(batches, epoch)]).tobytes()

    assert len({first(), first(1), first(seed=2)}) == 3
    assert first(shuffle=False) == first(1, shuffle=False, seed=2)
    whole = LMBatches(documents, 1, 200, 1, shuffle=False)[0]
    assert (whole.ids[:, 0] == np.arange(99)).all()


@given(n=st.integers(2, 40), batch_size=st.integers(1, 50))
def test_a_tiny_text_gets_fewer_streams_of_two_words_or_more(n, batch_size):
    batches = LMBatches([np.arange(n)], batch_size, 70, 0)
    assert 1 <= batches.batch_size <= batch_size
    assert batches.stream_length >= 2 or n == 2
    assert batches[0].ids.size + 1 <= n


@pytest.mark.parametrize("documents, n", [([], 0), ([np.array([3])], 1), ([np.zeros(0, int)] * 3, 0)])
def test_a_text_of_fewer_than_two_words_is_refused(documents, n):
    with pytest.raises(InputError, match=f"has {n} words; at least 2 are needed"):
        LMBatches(documents, 4, 70, 0)


# --- labelled texts


def labelled(n, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, 50, rng.integers(0, 12)) for _ in range(n)], rng.integers(0, 3, n)


@given(n=st.integers(2, 120), batch_size=st.integers(2, 40), seed=seeds, epoch=st.integers(0, 2))
def test_an_epoch_has_every_text_once_and_never_a_batch_of_one(n, batch_size, seed, epoch):
    texts, labels = labelled(n, seed)
    batches = TextBatches(texts, labels, batch_size, seed)
    sizes, rows = [], []
    for batch in epoch_of(batches, epoch):
        sizes.append(len(batch.rows))
        rows += batch.rows.tolist()
        for b, row in enumerate(batch.rows):
            assert (batch.ids[: batch.lengths[b], b] == texts[row]).all() and batch.labels[b] == labels[row]
            assert (batch.ids[batch.lengths[b] :, b] == PAD_ID).all() and batch.lengths[b] == len(texts[row])
    assert sorted(rows) == list(range(n))
    assert min(sizes) >= 2 and max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size + (batch_size == 2)  # three texts, two a batch: they stay together


@given(n=st.integers(2, 60), step=st.integers(0, 60), seed=st.integers(0, 9))
def test_a_batch_of_texts_is_a_function_of_the_step_alone(n, step, seed):
    texts, labels = labelled(n)
    batches = TextBatches(texts, labels, 4, seed)
    first = batches[step]
    batches[step + 25]
    for again in (batches[step], TextBatches(texts, labels, 4, seed)[step]):
        assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_texts_of_equal_length_come_together_but_in_another_order_each_epoch():
    texts = [np.arange(n % 10) for n in range(200)]
    batches = TextBatches(texts, np.zeros(200, int), 20, 1)
    for epoch in range(2):
        spans = [np.ptp(batch.lengths) for batch in epoch_of(batches, epoch)]
        assert max(spans) <= 1  # ten lengths, ten batches
    orders = {tuple(np.concatenate([b.rows for b in epoch_of(batches, epoch)])) for epoch in range(3)}
    assert len(orders) == 3
    longest = [batch.lengths.max() for batch in epoch_of(batches)]
    assert longest != sorted(longest, reverse=True)  # the batches are shuffled, too


@pytest.mark.parametrize("n", [0, 1])
def test_one_text_is_too_little_to_train_on(n):
    with pytest.raises(InputError, match=f"at least 2 texts, got {n}"):
        TextBatches(*labelled(n), 8, 0)


def test_a_batch_size_of_one_is_refused():
    with pytest.raises(InputError, match="batch_size: batch norm needs at least 2 texts in a batch, got 1"):
        TextBatches(*labelled(5), 1, 0)


def test_pad_batch_by_hand():
    batch = pad_batch([np.array([5, 6, 7]), np.array([8]), np.array([], int)], [2, 0, 1], np.array([3, 4, 5]))
    assert (batch.ids == np.array([[PAD_ID, 5, 8], [PAD_ID, 6, PAD_ID], [PAD_ID, 7, PAD_ID]])).all()
    assert batch.lengths.tolist() == [0, 3, 1]
    assert batch.labels.tolist() == [5, 3, 4] and batch.rows.tolist() == [2, 0, 1]
    assert pad_batch([np.array([], int)], [0]).ids.shape == (1, 1) and pad_batch([np.array([4])], [0]).labels is None


def test_padding_is_the_vocabularys_padding_token():
    assert Vocab.build([]).decode([PAD_ID]) == ["xxpad"]


@given(n=st.integers(0, 40), batch_size=st.integers(1, 12), seed=seeds)
def test_evaluation_has_every_text_once_longest_first(n, batch_size, seed):
    texts, labels = labelled(n, seed)
    batches = list(evaluation_batches(texts, labels, batch_size))
    rows = [r for b in batches for r in b.rows]
    assert sorted(rows) == list(range(n)) and all(1 <= len(b.rows) <= batch_size for b in batches)
    lengths = [len(texts[r]) for r in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert all((b.labels == labels[b.rows]).all() for b in batches)


@pytest.mark.parametrize("max_tokens, sizes", [(1000, [3, 3, 3]), (100, [1, 2, 2, 3, 1]), (1, [1] * 9)])
def test_batches_of_long_texts_have_fewer_rows(max_tokens, sizes):
    texts = [np.ones(n, int) for n in (100, 50, 50, 40, 33, 30, 30, 30, 1)]
    assert [len(b.rows) for b in evaluation_batches(texts, batch_size=3, max_tokens=max_tokens)] == sizes


# --- windows


@given(
    T=st.integers(1, 20), B=st.integers(1, 4), bptt=st.integers(1, 8), n_last=st.integers(1, 5), more=st.integers(0, 3),
    seed=seeds,
)  # fmt: skip
def test_windows_are_cut_from_the_end_and_all_texts_end_together(T, B, bptt, n_last, more, seed):
    rng = np.random.default_rng(seed)
    texts = [PAD_ID + 1 + np.arange(n) for n in rng.integers(0, T + 1, B)]
    batch = pad_batch(texts, range(B))
    ids = np.concatenate([batch.ids, np.full((more, B), 99)])  # too much padding, and of something else
    windows = list(text_windows(ids, batch.lengths, bptt, n_last))
    assert len(windows) == min(n_last, max(1, max(-(-len(t) // bptt) for t in texts)))
    for window_ids, lengths in windows:
        assert window_ids.shape == (max(1, lengths.max()), B)
        assert (window_ids[np.arange(len(window_ids))[:, None] >= lengths] == PAD_ID).all()
    for b, text in enumerate(texts):
        lengths = [n[b] for _, n in windows]
        began = next((k for k, n in enumerate(lengths) if n), len(windows))
        assert lengths[began + 1 :] == [bptt] * len(lengths[began + 1 :])  # but for its first it fills its windows
        read = np.concatenate([window_ids[: n[b], b] for window_ids, n in windows])
        assert read.tolist() == text[-n_last * bptt :].tolist()


def test_windows_by_hand():
    P = PAD_ID
    ids = np.array([[11, 16], [12, 17], [13, P], [14, P], [15, P]])
    expected = [([[11, P]], [1, 0]), ([[12, P], [13, P]], [2, 0]), ([[14, 16], [15, 17]], [2, 2])]
    for n_last in (3, 2, 1):
        windows = text_windows(ids, np.array([5, 2]), 2, n_last)
        assert [(i.tolist(), n.tolist()) for i, n in windows] == expected[-n_last:]
    for bptt in (5, 70):
        [(same, lengths)] = text_windows(ids, np.array([5, 2]), bptt, 20)
        assert (same == ids).all() and lengths.tolist() == [5, 2]
