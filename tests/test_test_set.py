"""The test set is looked at once, when all is trained, and the baseline learns from the same texts."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_runs import KilledAt, config_for, text

from ulmfit import experiment, test_set
from ulmfit.experiment import run_experiment
from ulmfit.predictor import Predictor
from ulmfit.progress import Silent

pytestmark = pytest.mark.usefixtures("no_baseline")


def test_the_test_set_is_read_once_at_the_end(pets, tmp_path, monkeypatch):
    calls, progress = [], KilledAt(None, None)

    def predict_proba_each(self, texts, progress):
        calls.append((list(texts), progress.stage))
        return original(self, texts, progress)

    original = Predictor.predict_proba_each
    monkeypatch.setattr(Predictor, "predict_proba_each", predict_proba_each)
    run_experiment(config_for(pets), tmp_path / "run", progress=progress)
    assert calls == [([text("test", k) for k in range(10)], "classify")]


def test_other_test_texts_change_no_model(pets_run, pets, tmp_path):
    """Nothing of the test file leaks into any stage."""
    out, metrics = pets_run
    (tmp_path / "other.csv").write_text("text,label\nsomething else altogether,canine\nand a mat,feline\n")
    cfg = config_for(pets, test_file=str(tmp_path / "other.csv"))
    other = run_experiment(cfg, tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (out / "forward" / "model.safetensors").read_bytes()
    assert other["n_test"] == 2 and other["stages"]["classify"]["validation_error"] is not None


def test_the_baseline_learns_from_training_and_validation_rows(pets, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(test_set, "linear_baseline", lambda *args: seen.append(args))
    metrics = run_experiment(config_for(pets), tmp_path / "run")
    (texts, labels, test), = seen
    assert metrics["baseline_error"] is None  # as without scikit-learn
    assert sorted(texts) == sorted(text("train", k) for k in range(40))
    assert all(("cat" in t) == bool(k) for t, k in zip(texts, labels, strict=True)) and len(test) == 10


def test_with_n_train_the_baseline_learns_from_so_many_texts_too(pets, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(test_set, "linear_baseline", lambda *args: seen.append(args))
    run_experiment(config_for(pets, n_train=8), tmp_path / "run")
    assert len(seen[0][0]) == len(seen[0][1]) == 8


def test_the_test_error_of_each_direction_is_that_of_its_classifier_alone(pets_run, pets, tmp_path, monkeypatch):
    """Of ten texts, every other one feline, one classifier gets all right and one calls nine canine; the averaged
    probabilities follow the surer one."""
    right = np.eye(2)[[k % 2 for k in range(10)]] * 0.8 + 0.1  # (10, 2)
    canine = np.tile([0.6, 0.4], (10, 1))
    canine[1] = right[1]
    answers = SimpleNamespace(predict_proba_each=lambda texts, progress: np.stack([right, canine]))
    monkeypatch.setattr(test_set.Predictor, "load", lambda out, device: answers)
    cfg = config_for(pets, direction="both")
    metrics = test_set.run_test(cfg, experiment.read_dataset(cfg, Silent()), tmp_path, Silent())
    assert metrics["test_error_by_direction"] == {"forward": 0.0, "backward": 40.0} and metrics["test_error"] == 0.0
    assert 10 < pets_run[1]["peak_memory_mb"] < 100_000
