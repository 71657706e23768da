"""The three stages: what each is given, what it starts from, and what it must never see."""

import dataclasses
import json

import numpy as np
import pytest
from problems import copies, same_bits
from tiny import DROPOUTS, SIZE, language_model, spread

from minilstm import NonFiniteError
from ulmfit import pipeline
from ulmfit.batching import LMBatches
from ulmfit.corpus import Corpus
from ulmfit.datasets import Dataset, Split
from ulmfit.errors import InputError
from ulmfit.evaluation import lm_loss, predict_logits
from ulmfit.pipeline import Stage, classify, finetune, pretrain, steps_in
from ulmfit.progress import Silent
from ulmfit.recipes import ClassifierTraining, LMTraining, Recipe
from ulmfit.run_dir import RunDirectory
from ulmfit.tasks import pretraining_task
from ulmfit.text import tokenize
from ulmfit.train import LMTask
from ulmfit.vocab import Vocab

LM = LMTraining(epochs=2, batch_size=2, lr=0.01, bptt=6, dropouts=DROPOUTS)
RECIPE = Recipe(
    size=SIZE, vocab_size=60, min_freq=1, pretrain=LM, finetune=LM,
    classify=ClassifierTraining(epochs=5, batch_size=4, lr=0.01, bptt=3, max_tokens=5, dropouts=DROPOUTS),
)  # fmt: skip
CORPUS = Corpus([f"the cat number {word} sat on a mat ." for word in "one two three four five six".split()])


def rows(kind, n):
    """Texts that each hold a word of their own."""
    return Split([f"is {kind}{k} the {'cat' if k % 2 else 'dog'} ?" for k in range(n)], np.arange(n) % 2)


TRAIN, VALID, TEST = rows("train", 9), rows("valid", 4), rows("test", 4)
DATASET = Dataset("pets", ("dog", "cat"), TRAIN, VALID, TEST, corpus=TRAIN.texts, notes=())


class Recorder(Silent):
    """What training tells."""

    def __init__(self):
        self.stages, self.steps, self.epochs = [], [], []

    def begin(self, stage, n_steps, start, groups, measure):
        self.stages.append((stage, n_steps, start))

    def step(self, log):
        self.steps.append(log)

    def epoch(self, log, mean_loss, validation):
        self.epochs.append((log.step, mean_loss, validation))


@pytest.fixture
def stage(tmp_path):
    def make(name="stage"):
        return Stage(RunDirectory(tmp_path), name, Recorder())

    return make


@pytest.fixture
def tasks(monkeypatch):
    """Every task that is trained, in order."""
    seen = []

    def fit(task, *args, **options):
        seen.append(task)
        return original(task, *args, **options)

    original = pipeline.fit
    monkeypatch.setattr(pipeline, "fit", fit)
    return seen


def some_model(seed=0):
    """A language model of a small vocabulary of its own."""
    vocab = Vocab.build(CORPUS.counts(), min_freq=1)
    model = spread(language_model(len(vocab), dtype=np.float32), np.random.default_rng(seed))
    return model, vocab


# --- stage 1


def test_pretraining_holds_one_document_in_a_hundred_out():
    corpus = Corpus([f"word{n}" for n in range(200)])
    recipe = dataclasses.replace(RECIPE, vocab_size=1000)
    task, vocab, valid = pretraining_task(corpus, recipe, 1, "forward")
    train = [tuple(d) for d in task.batches.documents]
    held_out = [tuple(d) for d in valid]
    assert len(train) == 198 and len(held_out) == 2 and not set(train) & set(held_out)
    assert sorted(train + held_out) == sorted(tuple(d) for d in corpus.encode(vocab))
    others = pretraining_task(corpus, recipe, 2, "forward")[2]
    assert [tuple(d) for d in others] != held_out
    same = pretraining_task(corpus, recipe, 1, "forward")[2]
    assert [tuple(d) for d in same] == held_out


def test_backward_models_read_every_document_from_its_end():
    forward, _, _ = pretraining_task(CORPUS, RECIPE, 1, "forward")
    backward, _, _ = pretraining_task(CORPUS, RECIPE, 1, "backward")
    assert all(
        (a == b[::-1]).all() for a, b in zip(forward.batches.documents, backward.batches.documents, strict=True)
    )


def lm_perplexity(model, documents, training):
    """What a stage should report of held-out word ids, in the order in which they are given here."""
    return np.exp(lm_loss(model, LMBatches(documents, 32, training.bptt, 1, shuffle=False)))


def test_a_backward_models_perplexity_is_that_of_held_out_text_from_its_end(stage):
    _, vocab, held_out = pretraining_task(CORPUS, RECIPE, 1, "forward")
    model, same_vocab, report = pretrain(stage(), CORPUS, RECIPE, 1, "backward")
    from_end, from_start = ([d[::turn] for d in held_out] for turn in (-1, 1))
    assert same_vocab == vocab and report["perplexity"] == pytest.approx(lm_perplexity(model, from_end, LM), rel=1e-6)
    assert report["perplexity"] != pytest.approx(lm_perplexity(model, from_start, LM), rel=1e-3)


def test_the_vocabulary_obeys_size_and_frequency():
    small = dataclasses.replace(RECIPE, vocab_size=12)
    assert len(pretraining_task(CORPUS, small, 1, "forward")[1]) == 12
    frequent = dataclasses.replace(RECIPE, min_freq=2)
    vocab = pretraining_task(CORPUS, frequent, 1, "forward")[1]
    assert "cat" in vocab and "three" not in vocab


def test_pretraining_reports_what_it_did(stage):
    s = stage("pretrain")
    model, vocab, report = pretrain(s, CORPUS, RECIPE, 1, "forward")
    assert model.params["decoder.bias"].shape == (len(vocab),) and report["vocab_size"] == len(vocab)
    assert report["steps"] == len(s.progress.steps) == s.progress.stages[0][1]
    assert report["tokens"] == sum(log.tokens for log in s.progress.steps) > 0 and report["seconds"] > 0
    assert report["tokens_per_second"] == pytest.approx(report["tokens"] / report["seconds"])
    assert report["unknown_percent"] == 0 and report["perplexity"] > 1
    assert len(s.progress.epochs) == 2 and s.progress.epochs[-1][2] == {"perplexity": report["perplexity"]}


def test_one_epoch_means_the_mean_of_its_losses(stage):
    s = stage()
    pretrain(s, CORPUS, RECIPE, 1, "forward")
    per_epoch = len(s.progress.steps) // 2
    for n, (step, mean, _) in enumerate(s.progress.epochs):
        losses = [log.loss for log in s.progress.steps[n * per_epoch : (n + 1) * per_epoch]]
        assert step == (n + 1) * per_epoch - 1 and mean == pytest.approx(np.mean(losses))


def test_the_mean_of_an_epoch_that_was_resumed_is_that_of_all_its_losses(stage, tasks, monkeypatch):
    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    whole, stopped, resumed = stage("whole"), stage(), stage()
    stopped.progress = Steps(tasks, stop=3)
    fine_tuned(whole, LM)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned(stopped, LM)
    fine_tuned(resumed, LM)
    assert resumed.progress.stages[0][2] == 3 and resumed.progress.epochs == whole.progress.epochs


def test_a_frozen_number_of_steps_counts_instead_of_epochs(stage):
    recipe = dataclasses.replace(RECIPE, pretrain=dataclasses.replace(LM, steps=3))
    assert pretrain(stage(), CORPUS, recipe, 1, "forward")[2]["steps"] == 3
    part = dataclasses.replace(RECIPE, pretrain=dataclasses.replace(LM, epochs=0.01))
    assert pretrain(stage("b"), CORPUS, part, 1, "forward")[2]["steps"] == 1


def test_a_limit_in_minutes_becomes_at_least_one_step():
    task, _, _ = pretraining_task(CORPUS, RECIPE, 1, "forward")
    assert steps_in(0, task) == 1
    few, many = (steps_in(m, pretraining_task(CORPUS, RECIPE, 1, "forward")[0]) for m in (0.01, 10))
    assert isinstance(many, int) and 1 < few < many


def test_a_corpus_of_one_document_is_never_its_own_validation(stage):
    corpus = Corpus(["the cat sat on the mat ."])
    task, _, valid = pretraining_task(corpus, RECIPE, 1, "forward")
    assert valid == [] and len(task.batches.documents) == 1
    assert pretrain(stage("a"), corpus, RECIPE, 1, "forward")[2]["perplexity"] is None


# --- stage 2


def test_fine_tuning_starts_from_the_model_with_the_union_of_both_vocabularies(stage, monkeypatch):
    """Known rows keep their values and places, new words start from the mean row: seen before the first step."""
    model, vocab = some_model()
    before = copies(model.params)
    monkeypatch.setattr(pipeline, "_train", lambda stage, task, validate: (None, {}))  # no step is done
    grown, union, report = finetune(stage(), model, vocab, DATASET.corpus, RECIPE, 1, "forward")
    n, weight = len(vocab), grown.params["encoder.embedding.weight"]
    assert union.itos[:n] == vocab.itos and report["new_words"] == len(union) - n >= 9
    old_weight = before["encoder.embedding.weight"]
    assert (weight[:n] == old_weight).all()
    np.testing.assert_allclose(weight[n:], [old_weight.mean(axis=0)] * (len(union) - n), rtol=1e-5)
    assert (grown.params["decoder.bias"][:n] == before["decoder.bias"]).all()
    rest = [name for name in before if "embedding" not in name and "decoder" not in name]
    same_bits({n: grown.params[n] for n in rest}, {n: before[n] for n in rest})
    same_bits(copies(model.params), before)


def decoded(vocab, documents):
    return sorted(" ".join(vocab.decode(d.tolist())) for d in documents)


def tokenized(texts):
    return sorted(" ".join(tokenize(t)) for t in texts)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_neither_validation_nor_test_texts_are_learnt_from(direction, stage, tasks):
    model, vocab = some_model()
    args = (RECIPE, 1, direction)
    model, union, _ = finetune(stage("f"), model, vocab, DATASET.corpus, *args, valid_texts=DATASET.valid.texts)
    classify(stage("c"), model, union, DATASET, *args)
    fine_tuning, classifying = tasks
    turn = -1 if direction == "backward" else 1
    assert decoded(union, [d[::turn] for d in fine_tuning.batches.documents]) == tokenized(DATASET.train.texts)
    # the windows of the classifier keep the last seven tokens, which is all of these texts
    assert decoded(union, [d[::turn] for d in classifying.batches.texts]) == tokenized(DATASET.train.texts)
    assert (classifying.batches.labels == DATASET.train.labels).all()
    assert not [w for w in union.itos if w.startswith(("valid", "test"))]
    assert all(f"train{n}" in union for n in range(9))


def test_validation_text_changes_the_perplexity_and_not_the_model(stage):
    model, vocab = some_model()
    args = (vocab, DATASET.corpus, RECIPE, 1, "forward")
    one, _, with_text = finetune(stage("a"), model, *args, valid_texts=DATASET.valid.texts)
    two, _, without = finetune(stage("b"), model, *args)
    same_bits(copies(one.params), copies(two.params))
    assert with_text["perplexity"] > 1 and without["perplexity"] is None


@pytest.mark.parametrize("direction, turn", [("forward", 1), ("backward", -1)])
def test_the_perplexity_is_that_of_the_validation_texts_in_the_models_direction(direction, turn, stage):
    model, vocab = some_model()
    texts = DATASET.valid.texts
    tuned, union, report = finetune(stage(), model, vocab, DATASET.corpus, RECIPE, 1, direction, valid_texts=texts)
    ids = [np.array(union.encode(tokenize(text)))[::turn] for text in texts]
    assert report["perplexity"] == pytest.approx(lm_perplexity(tuned, ids, LM), rel=1e-6)
    assert report["perplexity"] != pytest.approx(lm_perplexity(tuned, [i[::-1] for i in ids], LM), rel=1e-3)


# --- NT-ASGD

STRANGE = ["qqq www eee rrr ttt yyy uuu"] * 3  # unknown words: the more is learnt, the less are they expected
NT_ASGD = dataclasses.replace(LM, epochs=6, lr=1.0, schedule="constant", optimizer="nt_asgd", nonmono=1)
PER_EPOCH, TRIGGERED = 5, 3  # the third loss is above the first, which lies more than one epoch back


def fine_tuned(stage, training, valid=STRANGE):
    recipe = dataclasses.replace(RECIPE, finetune=training)
    model, vocab = some_model()
    model, _, report = finetune(stage, model, vocab, DATASET.corpus, recipe, 1, "forward", valid_texts=valid)
    return copies(model.params), report


class Steps(Recorder):
    """Notes the weights after each step, and stops before step `stop` has been saved."""

    def __init__(self, tasks, stop=None):
        super().__init__()
        self.tasks, self.stop, self.weights = tasks, stop, []

    def step(self, log):
        super().step(log)
        self.weights.append(copies(self.tasks[-1].model.params))
        if log.step == self.stop:
            raise KeyboardInterrupt


def test_nt_asgd_trains_as_sgd_and_ends_with_the_mean_of_the_weights_since_the_trigger(stage, tasks):
    averaging, plain = stage("a"), stage("b")
    averaging.progress, plain.progress = Steps(tasks), Steps(tasks)
    mean, report = fine_tuned(averaging, NT_ASGD)
    last, _ = fine_tuned(plain, dataclasses.replace(NT_ASGD, optimizer="sgd"))
    weights = averaging.progress.weights
    assert len(weights) == 6 * PER_EPOCH
    for one, other in zip(weights, plain.progress.weights, strict=True):
        same_bits(one, other)
    counted = weights[TRIGGERED * PER_EPOCH + 1 :]  # PyTorch's mean forgets the first
    for name, a in mean.items():
        np.testing.assert_allclose(a, np.mean([w[name] for w in counted], axis=0), rtol=1e-4, atol=1e-6)
        assert (a != last[name]).any()
    perplexities = [[v["perplexity"] for _, _, v in s.progress.epochs] for s in (averaging, plain)]
    assert perplexities[0][:TRIGGERED] == perplexities[1][:TRIGGERED] == sorted(perplexities[1][:TRIGGERED])
    assert all(a != b for a, b in zip(perplexities[0][TRIGGERED:], perplexities[1][TRIGGERED:], strict=True))
    task = tasks[0]  # what is reported is what the weights that are kept come to
    documents = Corpus(STRANGE).encode(vocab_of(task))
    assert report["perplexity"] == perplexities[0][-1]
    assert report["perplexity"] == pytest.approx(lm_perplexity(task.model, documents, NT_ASGD), rel=1e-6)


def vocab_of(task):
    """The vocabulary that fine-tuning makes of some_model's and the data set's."""
    vocab = some_model()[1].union(Vocab.build(Corpus(DATASET.corpus).counts(), max_size=10**6, min_freq=1))
    assert len(vocab) == task.model.vocab_size
    return vocab


@pytest.mark.parametrize("stop", [3, 10, 14, 15, 16, 17, 24, 29])
def test_nt_asgd_goes_on_where_it_stopped_with_the_same_bits(stop, stage, tasks, monkeypatch):
    """Stopped before the trigger (which is at step 15), at it, and after it."""
    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)  # one every step
    expected, report = fine_tuned(stage("whole"), NT_ASGD)
    stopped = stage()
    stopped.progress = Steps(tasks, stop)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned(stopped, NT_ASGD)
    resumed = stage()
    same, same_report = fine_tuned(resumed, NT_ASGD)
    assert resumed.progress.stages == [("stage", 6 * PER_EPOCH, stop)]
    same_bits(expected, same)
    assert same_report["perplexity"] == report["perplexity"] and same_report["tokens"] == report["tokens"]
    again, report_of_nothing = fine_tuned(stage(), NT_ASGD)  # complete: the mean is loaded
    same_bits(expected, again)
    assert report_of_nothing["perplexity"] == report["perplexity"]


def test_nt_asgd_that_never_triggers_ends_with_its_last_weights(stage):
    patient = dataclasses.replace(NT_ASGD, nonmono=6)
    same_bits(
        fine_tuned(stage("a"), patient)[0], fine_tuned(stage("b"), dataclasses.replace(patient, optimizer="sgd"))[0]
    )


def test_nt_asgd_without_held_out_text_says_so(stage):
    with pytest.raises(InputError, match="^optimizer: nt_asgd watches the perplexity of held-out text, and there is"):
        fine_tuned(stage(), NT_ASGD, valid=[])
    recipe = dataclasses.replace(RECIPE, pretrain=NT_ASGD)
    with pytest.raises(InputError, match="nt_asgd"):
        pretrain(stage("p"), Corpus(["the cat sat on the mat ."]), recipe, 1, "forward")


def test_a_limit_in_minutes_is_measured_with_the_recipes_optimiser():
    """At a rate of SGD's, Adam would throw the weights so far that nothing is finite any more."""
    recipe = dataclasses.replace(RECIPE, pretrain=dataclasses.replace(NT_ASGD, lr=1e36, clip=1e-36))
    assert steps_in(0.01, pretraining_task(CORPUS, recipe, 1, "forward")[0]) >= 1


# --- numbers that are not finite


@pytest.fixture
def spoilt(monkeypatch):
    """A function: spoil these steps of language models, {step: a function of a Step -> another}"""

    def spoil(spoils):
        def loss_and_grads(task, step, carry):
            return spoils.get(step, lambda made: made)(original(task, step, carry))

        original = LMTask.loss_and_grads
        monkeypatch.setattr(LMTask, "loss_and_grads", loss_and_grads)

    return spoil


def no_number(made):
    return made._replace(loss=float("nan"))


def huge(made):
    """Finite, and so is the norm; but not the squares, of which Adam keeps a mean."""
    return made._replace(grads={name: np.full_like(g, 1e25) for name, g in made.grads.items()})


def test_steps_that_are_left_out_are_told_logged_and_counted(stage, spoilt, tmp_path):
    spoilt({1: no_number, 4: no_number})
    s = stage()
    s.progress.message = (said := []).append
    _, report = fine_tuned(s, dataclasses.replace(LM, skip_nonfinite=2))
    why = "the loss is nan; not finite: the activations"
    assert said == [f"step {n} is left out: {why}" for n in (1, 4)] and report["skipped_steps"] == 2
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if r["skipped"] == why] == [1, 4] and rows[4]["loss"] is None
    per_epoch = len(rows) // 2
    for n, (_, mean, _) in enumerate(s.progress.epochs):
        losses = [r["loss"] for r in rows[n * per_epoch : (n + 1) * per_epoch] if r["loss"] is not None]
        assert mean == pytest.approx(np.mean(losses), abs=1e-6)


def test_a_resumed_stage_knows_how_many_steps_have_been_left_out(stage, tasks, spoilt, monkeypatch):
    monkeypatch.setattr(pipeline, "CHECKPOINT_SECONDS", -1)
    spoilt({1: no_number, 4: no_number})
    training, s = dataclasses.replace(LM, skip_nonfinite=1), stage()
    s.progress = Steps(tasks, stop=3)
    with pytest.raises(KeyboardInterrupt):
        fine_tuned(s, training)
    with pytest.raises(NonFiniteError, match="^step 4: the loss is nan; .* it is number 2 of such steps"):
        fine_tuned(stage(), training)


@pytest.mark.parametrize("training, spoils, said", [
    ({"lr": 1e60, "optimizer": "sgd", "clip": None}, {}, r"^step 0: weights not finite in lstm_0 \(encoder.lstm.weig"),
    ({}, {0: huge}, r"^step 0: exp_avg_sq not finite in lstm_0 \(encoder.lstm.weight_ih_l0, .*; a lower learning rate"),
], ids=["weights", "moments"])  # fmt: skip
def test_what_a_finite_gradient_makes_infinite_is_never_saved(training, spoils, said, stage, spoilt, tmp_path):
    spoilt(spoils)
    training = dataclasses.replace(LM, **{"steps": 1, **training})
    with pytest.raises(NonFiniteError, match=said), np.errstate(all="ignore"):
        fine_tuned(stage(), training)
    assert not (tmp_path / "checkpoints").exists()


# --- stage 3


def test_the_classifier_starts_from_the_language_models_encoder(stage, monkeypatch):
    model, vocab = some_model()
    started = {}

    def train(stage, task, validate, initial_carry):
        started.update(copies(task.model.params))
        return initial_carry, {}

    monkeypatch.setattr(pipeline, "_train", train)
    classifier, stats, _ = classify(stage(), model, vocab, DATASET, RECIPE, 1, "forward")
    encoder = {name: a for name, a in started.items() if name.startswith("encoder")}
    same_bits(encoder, {name: model.params[name] for name in encoder})
    assert classifier.n_classes == 2 and len(stats) == 2


@pytest.mark.parametrize("direction, turn", [("forward", 1), ("backward", -1)])
def test_validation_error_is_that_of_the_validation_texts_in_the_models_direction(direction, turn, stage, monkeypatch):
    model, vocab = some_model()
    s, asked, answers = stage(), [], []

    def remember(*args, **options):
        asked.append(options)
        answers.append(predict_logits(*args, **options))
        return answers[-1]

    monkeypatch.setattr(pipeline, "predict_logits", remember)
    classifier, stats, report = classify(s, model, vocab, DATASET, RECIPE, 1, direction)
    ids, windows = [np.array(vocab.encode(tokenize(t))) for t in DATASET.valid.texts], {"bptt": 3, "max_tokens": 5}
    logits, other = (predict_logits(classifier, stats, [i[::t] for i in ids], **windows) for t in (turn, -turn))
    assert asked == [windows] * 5
    assert (answers[-1] == logits).all() and (answers[-1] != other).any()
    assert report["validation_error"] == 100 * (logits.argmax(axis=1) != DATASET.valid.labels).mean()
    assert [v["validation_error"] for _, _, v in s.progress.epochs][-1] == report["validation_error"]
    assert len(s.progress.epochs) == 5 and report["steps"] == 15


def test_a_stage_that_is_complete_is_neither_trained_nor_validated_again(stage, monkeypatch):
    model, vocab = some_model()
    classifier, stats, report = classify(stage(), model, vocab, DATASET, RECIPE, 1, "forward")
    monkeypatch.setattr(pipeline, "predict_logits", lambda *_, **__: pytest.fail("was validated"))
    again = stage()
    same, same_stats, same_report = classify(again, model, vocab, DATASET, RECIPE, 1, "forward")
    assert again.progress.stages == [("stage", 15, 15)] and not again.progress.steps
    same_bits(copies(classifier.params), copies(same.params))
    for a, b in zip(stats, same_stats, strict=True):
        same_bits(a._asdict(), b._asdict())
    timing = ("seconds", "tokens_per_second")
    assert {k: v for k, v in report.items() if k not in timing} == {
        k: v for k, v in same_report.items() if k not in timing
    }  # fmt: skip
