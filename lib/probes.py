"""What features are good for: a linear probe and nearest neighbours on a frozen model.

Linear probe: features standardised on the training images, multinomial logistic
regression (scikit-learn, lbfgs); its L2 strength is chosen on validation among
C = 0.001, 0.01, 0.1, 1. k-NN: cosine similarity, k = 20, votes weighted by
exp(similarity / 0.07) as in Wu et al. 2018 (arXiv 1805.01978, section 3.4). Both fit
on training images alone; nothing is hidden when features are made. scikit-learn is imported
where it is used: three seconds less for each process that measures nothing.
"""

import warnings

import numpy as np
from jaxtyping import Float, Int64

VERSION = 1  # raise it when accuracies change: records made before are then stale
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
NEIGHBOURS, TEMPERATURE = 20, 0.07

Features = dict[str, Float[np.ndarray, "count features"]]  # split -> features
Labels = dict[str, Int64[np.ndarray, " count"]]


def linear_probe(features: Features, labels: Labels) -> dict[str, float]:
    """Accuracy on validation and test of the probe whose strength does best on validation."""
    best = best_probe(features, labels)
    return {split: float(best.score(features[split], labels[split])) for split in ("validation", "test")}


def best_probe(features: Features, labels: Labels) -> "sklearn.pipeline.Pipeline":
    """The probe whose strength does best on validation: a scaler and a logistic regression."""
    fitted = [fit_probe(features["train"], labels["train"], strength) for strength in STRENGTHS]
    return max(fitted, key=lambda probe: probe.score(features["validation"], labels["validation"]))


def fit_probe(features: np.ndarray, labels: np.ndarray, strength: float) -> "sklearn.pipeline.Pipeline":
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 steps are the protocol
        return probe.fit(features, labels)


def nearest_neighbours(features: Features, labels: Labels) -> dict[str, float]:
    """Accuracy on validation and test of weighted k-NN."""
    from sklearn.neighbors import KNeighborsClassifier

    count = min(NEIGHBOURS, len(features["train"]))
    votes = KNeighborsClassifier(count, metric="cosine", algorithm="brute", weights=similarity_weights)
    votes.fit(features["train"], labels["train"])
    return {split: float(votes.score(features[split], labels[split])) for split in ("validation", "test")}


def similarity_weights(distances: Float[np.ndarray, "count neighbours"]) -> Float[np.ndarray, "count neighbours"]:
    return np.exp((1 - distances) / TEMPERATURE)
