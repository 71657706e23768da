"""Every regulariser is really on in training and really off in evaluation, as the pipeline runs them: the language
model's in fine-tuning, the classifier's in classification. In well-known packages some were off for years."""

import dataclasses
import inspect

import numpy as np
import pytest
from problems import copies, load, same_bits
from tiny import KINDS, SIZE, language_model, spread

from ulmfit import pipeline
from ulmfit.batching import LMBatches
from ulmfit.classifier import TextClassifier
from ulmfit.corpus import Corpus
from ulmfit.datasets import Dataset, Split
from ulmfit.evaluation import lm_loss, predict_logits
from ulmfit.language_model import LanguageModel
from ulmfit.pipeline import Stage, classify, finetune
from ulmfit.progress import Silent
from ulmfit.recipes import PAPER, ClassifierTraining, Dropouts, LMTraining
from ulmfit.run_dir import RunDirectory
from ulmfit.vocab import Vocab

SEED = 1
TRAIN = Split([f"is this the {'cat' if n % 2 else 'dog'} number {n} on a mat ?" for n in range(9)], np.arange(9) % 2)
VALID = Split(["qqq www eee rrr ttt", "is this the cat ?"] * 2, np.array([0, 1] * 2))  # unknown words: see NT-ASGD
DATASET = Dataset("pets", ("dog", "cat"), TRAIN, VALID, VALID, corpus=TRAIN.texts, notes=())
VOCAB = Vocab.build(Corpus(TRAIN.texts).counts(), min_freq=1)

PLAIN_LM = LMTraining(epochs=5, batch_size=2, lr=1.0, schedule="constant", bptt=8, optimizer="sgd")
PLAIN_CLASSIFIER = ClassifierTraining(epochs=3, batch_size=3, lr=0.01, unfreezing="full")

LM = {kind: {"dropouts": Dropouts(**{kind: 0.4})} for kind in KINDS} | {
    "weight decay": {"weight_decay": 0.1},
    "AR": {"ar": 2.0},
    "TAR": {"tar": 1.0},
    "variable BPTT": {"variable_bptt": True},
    "NT-ASGD": {"optimizer": "nt_asgd", "nonmono": 1},  # the perplexity of unknown words rises, so it is triggered
}
CLASSIFIER = {kind: {"dropouts": Dropouts(**{kind: 0.4})} for kind in KINDS[:-1]} | {
    "head 1": {"dropouts": Dropouts(head=(0.4, 0.0))},
    "head 2": {"dropouts": Dropouts(head=(0.0, 0.4))},
    "weight decay": {"weight_decay": 0.1},
    "AR": {"ar": 2.0},
    "TAR": {"tar": 1.0},
}
each_of_the_lm = pytest.mark.parametrize("changes", LM.values(), ids=LM)
each_of_the_classifier = pytest.mark.parametrize("changes", CLASSIFIER.values(), ids=CLASSIFIER)


@pytest.fixture
def stage(tmp_path):
    return Stage(RunDirectory(tmp_path), "stage", Silent())


@pytest.fixture
def another(tmp_path):
    return Stage(RunDirectory(tmp_path), "another", Silent())


def pretrained():
    return spread(language_model(len(VOCAB), dtype=np.float32), np.random.default_rng(0))


def fine_tuned(stage, changes, **more):
    """-> the language model that fine-tuning makes, what it reports"""
    recipe = dataclasses.replace(PAPER, finetune=dataclasses.replace(PLAIN_LM, **changes, **more))
    model, _, report = finetune(
        stage, pretrained(), VOCAB, DATASET.corpus, recipe, SEED, "forward", valid_texts=VALID.texts
    )
    return model, report


def classified(stage, changes, **more):
    """-> the classifier that stage 3 makes, its running statistics, what it reports"""
    recipe = dataclasses.replace(PAPER, size=SIZE, classify=dataclasses.replace(PLAIN_CLASSIFIER, **changes, **more))
    return classify(stage, pretrained(), VOCAB, DATASET, recipe, SEED, "forward")


def assert_differ(a, b):
    """In every single parameter."""
    assert a.keys() == b.keys()
    assert [name for name in a if (a[name] == b[name]).all()] == []


@each_of_the_lm
def test_it_changes_what_a_language_model_learns(changes, stage, another):
    plain, _ = fine_tuned(stage, {})
    regularised, _ = fine_tuned(another, changes)
    assert_differ(plain.params, regularised.params)


@each_of_the_classifier
def test_it_changes_what_a_classifier_learns(changes, stage, another):
    plain, _, _ = classified(stage, {})
    regularised, _, _ = classified(another, changes)
    encoder = [name for name in plain.params if name.startswith("encoder")]
    assert_differ({n: plain.params[n] for n in encoder}, {n: regularised.params[n] for n in encoder})


@pytest.fixture
def seen(monkeypatch):
    """{False: [the arguments of a model's forward in a training step], True: [in validation]}, by name"""
    calls, validates, true_train = {False: [], True: []}, [False], pipeline._train

    def watched(true_forward):
        signature = inspect.signature(true_forward)

        def forward(*args, **how):
            given = signature.bind(*args, **how)
            given.apply_defaults()
            calls[validates[0]].append(given.arguments)
            return true_forward(*args, **how)

        return forward

    def train(stage, task, validate, **how):
        def validate_watched(carry):
            validates[0] = True
            try:
                return validate(carry)
            finally:
                validates[0] = False

        return true_train(stage, task, validate_watched, **how)

    for model in (LanguageModel, TextClassifier):
        monkeypatch.setattr(model, "forward", watched(model.forward))
    monkeypatch.setattr(pipeline, "_train", train)
    return calls


def drop(masks, head=()):
    """Whether these masks, an encoder's and a head's, drop anything at all."""
    masks = (masks.embedding, *masks.inputs, *masks.weights, masks.output, *head)
    return any(mask is not None for mask in masks)


@each_of_the_lm
def test_a_language_model_is_validated_without_it(changes, stage, seen):
    _, report = fine_tuned(stage, changes)
    assert len(seen[False]) == report["steps"] and len(seen[True]) >= PLAIN_LM.epochs
    for call in seen[True]:
        assert (call["masks"], call["ar"], call["tar"]) == (None, 0, 0)
    for call in seen[False]:
        assert (call["ar"], call["tar"]) == (changes.get("ar", 0), changes.get("tar", 0))
        assert drop(call["masks"]) == ("dropouts" in changes)


@each_of_the_classifier
def test_a_classifier_is_validated_without_it(changes, stage, seen):
    trained, stats, report = classified(stage, changes)
    assert len(seen[False]) == report["steps"] and len(seen[True]) >= PLAIN_CLASSIFIER.epochs
    for call in seen[True]:
        assert (call["masks"], call["ar"], call["tar"], call["training"]) == (None, 0, 0, False)
    for call in seen[False]:
        assert (call["ar"], call["tar"]) == (changes.get("ar", 0), changes.get("tar", 0)) and call["training"]
        assert drop(*call["masks"]) == ("dropouts" in changes)
    logits = predict_logits(trained, stats, Corpus(VALID.texts).encode(VOCAB))
    assert report["validation_error"] == 100 * (logits.argmax(axis=1) != VALID.labels).mean()


NO_RATE = 1e-30  # at which no weight moves by a bit


@each_of_the_lm
def test_evaluating_a_language_model_does_not_see_it(changes, stage, another):
    """Where training moves nothing, validation says the same with it as without."""
    model, report = fine_tuned(stage, changes, lr=NO_RATE)
    same_bits(copies(model.params), copies(pretrained().params))
    assert report["perplexity"] == fine_tuned(another, {}, lr=NO_RATE)[1]["perplexity"]


@each_of_the_lm
def test_a_trained_language_model_is_evaluated_by_its_weights_alone(changes, stage):
    trained, report = fine_tuned(stage, changes)
    fresh = LanguageModel(len(VOCAB), SIZE, rng=np.random.default_rng(9))
    load(fresh, trained.params)
    batches = LMBatches(Corpus(VALID.texts).encode(VOCAB), 32, PLAIN_LM.bptt, SEED, shuffle=False)
    assert lm_loss(trained, batches) == lm_loss(fresh, batches) == pytest.approx(np.log(report["perplexity"]))
