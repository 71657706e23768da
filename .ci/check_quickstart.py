"""Fail, in one line, unless quickstart beats TF-IDF + linear SVM and itself from random weights.

    python .ci/check_quickstart.py runs/quickstart
"""

import json
import sys
from pathlib import Path

out = Path(sys.argv[1])
try:
    metrics, without = (json.loads((run / "metrics.json").read_text()) for run in (out, out / "without"))
except OSError as e:
    sys.exit(f"quickstart has not finished: {e.filename} is missing")
others = {"TF-IDF + linear SVM": metrics["baseline_error"], "random weights": without["test_error"]}
said = f"test error {metrics['test_error']}, " + ", ".join(f"{name} {error}" for name, error in others.items())
if not all(error is not None and metrics["test_error"] < error for error in others.values()):
    sys.exit(f"quickstart must beat the others: {said}")
print(said)
