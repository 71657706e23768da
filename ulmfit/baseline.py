"""What a careful person would try first: TF-IDF features and a linear support vector machine, with scikit-learn."""

import numpy as np


def linear_baseline(train_texts, train_labels, test_texts) -> np.ndarray | None:
    """Predicted labels (N_test,), or None where scikit-learn is not installed.

    TF-IDF of words and pairs of words (any run of non-space, so punctuation counts too), with sublinear counts,
    then LinearSVC; all settings as they come, none tuned.
    """
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import make_pipeline
        from sklearn.svm import LinearSVC
    except ImportError:
        return None
    tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    model = make_pipeline(tfidf, LinearSVC(random_state=0))
    model.fit(train_texts, train_labels)
    return model.predict(test_texts)
