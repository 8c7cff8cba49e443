"""How good a reconstruction is, and what features are good for: pure functions of arrays.

Reconstruction. PSNR is that of the mean squared error over a set of images, in dB with peak 1
(a mean of per-image PSNR would be ruled by the smoothest images). SSIM (Wang et al. 2004) is
scikit-image's full map, data range 1, borders included, with a uniform window of 7 pixels (3
where a side is below 16), averaged over the pixels of a region. What is judged is the
*completed* image: the prediction where pixels were hidden, the truth where they were visible.
The prediction as it is (`raw_`) stands beside, since a window at the edge of a mask mixes both.

Features, made with nothing hidden by a frozen model. Linear probe: standardised on the training
images, then multinomial logistic regression whose L2 strength is chosen on validation. k-NN:
centred on the training mean, then cosine similarity, the 20 nearest training images voting with
exp(similarity / 0.07), as in Wu et al. 2018 (arXiv 1805.01978, section 3.4); without the
centring, features of one sign would all look alike. Both are fitted on training images alone.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

# Raise a number when what it covers changes: records made before are then stale.
MEASURES = 2  # reconstruction
PROBES = 2  # features

# C of scikit-learn, the weight of the summed loss beside the penalty, strongest penalty first.
STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
# Of lbfgs at most, for each strength, begun at the one before. With 3,072 features 600 images take
# a second for the whole grid; 6,000 take all iterations, and half a minute.
# Features in thousands have not converged by then: rounding, which differs from processor to
# processor, moves a strength's accuracy by an image or two. Of 8,523 photographs' 12,288 pixels
# two strengths are so close on validation that it decides between them (.388 and .412 on test).
ITERATIONS = 100
TOLERANCE = 1e-5  # largest slope of the mean loss at which lbfgs stops before
FOLDS = 5  # of cross-validation inside few labels
MANY = 5000  # images from which on one fold is held out and no other: choosing is then cheap
NEIGHBOURS = 20
TEMPERATURE = 0.07

Picture = Float[np.ndarray, "height width channels"]
FeatureMatrix = Float[np.ndarray, "count features"]
LabelVector = Int64[np.ndarray, " count"]
Features = dict[str, FeatureMatrix]  # split -> features
Labels = dict[str, LabelVector]


def psnr(mse: float | None) -> float | None:
    """Peak signal-to-noise ratio in dB of a mean squared error.

    None where it is absent, and where it is zero: an exact copy has no finite PSNR.
    """
    if mse is None or math.isnan(mse) or mse == 0:
        return None
    return -10 * math.log10(mse)


def told(decibels: float | None) -> str:
    """A PSNR in words."""
    return "exact" if decibels is None else f"{decibels:.1f} dB"


def ssim_map(truth: Picture, prediction: Picture) -> Float[np.ndarray, "height width"]:
    """SSIM at every pixel, mean over channels. Raises ValueError for images below 3x3."""
    # Here, since it costs every process a second that measures nothing.
    from skimage.metrics import structural_similarity

    height, width = truth.shape[:2]
    side = min(height, width)
    if side < 3:
        raise ValueError(
            f"SSIM needs images of at least 3x3 pixels, got {height}x{width}: "
            "choose a larger image_size"
        )
    window = 7 if side >= 16 else 3
    _, full = structural_similarity(
        truth, prediction, win_size=window, data_range=1.0, channel_axis=2, full=True
    )
    return full.mean(axis=2)


def image_measures(
    truth: Picture, prediction: Picture, hidden: Bool[np.ndarray, "height width"]
) -> dict[str, float]:
    """Squared errors and SSIM of one image in [0, 1], by region.

    mse_hidden, mse_visible                of the prediction, on either side of the mask
    mse_all, ssim_hidden, ssim_all         of the completed image
    raw_mse_all, raw_ssim_hidden, raw_ssim_visible, raw_ssim_all   of the prediction as it is

    A region without pixels is left out. Where nothing is hidden, the completed image would be
    the truth itself: there mse_all and ssim_all are those of the prediction, and no `raw_` is.
    """
    if not hidden.any():
        return of_plain_prediction(truth, prediction)
    squared = ((truth - prediction) ** 2).mean(axis=2)
    raw = ssim_map(truth, prediction)
    completed = ssim_map(truth, np.where(hidden[:, :, None], prediction, truth))
    found = {
        "mse_hidden": squared[hidden].mean(),
        "mse_all": (squared * hidden).mean(),
        "ssim_hidden": completed[hidden].mean(),
        "ssim_all": completed.mean(),
        "raw_mse_all": squared.mean(),
        "raw_ssim_hidden": raw[hidden].mean(),
        "raw_ssim_all": raw.mean(),
    }
    if not hidden.all():
        found["mse_visible"] = squared[~hidden].mean()
        found["raw_ssim_visible"] = raw[~hidden].mean()
    return {name: float(value) for name, value in found.items()}


def of_plain_prediction(truth: Picture, prediction: Picture) -> dict[str, float]:
    """The measures of an image of which nothing was hidden."""
    error = float(((truth - prediction) ** 2).mean())
    return {
        "mse_visible": error,
        "mse_all": error,
        "ssim_all": float(ssim_map(truth, prediction).mean()),
    }


@dataclass(frozen=True)
class Probe:
    """A linear classifier of features as they come: the standardising is in its weights."""

    weight: Float[np.ndarray, "classes features"]
    bias: Float[np.ndarray, " classes"]
    classes: Int64[np.ndarray, " classes"]  # the labels it was fitted on, ascending
    strength: float  # one of STRENGTHS

    @property
    def edge(self) -> bool:
        """Whether the strength is an end of the grid, so that the best may lie beyond it."""
        return at_edge(self.strength)

    def predict(self, features: FeatureMatrix) -> LabelVector:
        return self.classes[(features @ self.weight.T + self.bias).argmax(axis=1)]

    def accuracy(self, features: FeatureMatrix, labels: LabelVector) -> float:
        """Share of images that are classified rightly."""
        return float((self.predict(features) == labels).mean())


def at_edge(strength: float) -> bool:
    """Whether a strength is the first or the last of the grid."""
    return strength in (STRENGTHS[0], STRENGTHS[-1])


def best_probe(features: Features, labels: Labels) -> Probe:
    """The probe whose strength does best on `validation`, all of them fitted on `train`.

    Among equals the one with the strongest penalty; an end of the grid only where it is
    better than all strengths inside.
    """

    def merit(probe: Probe) -> tuple[float, bool]:
        right = probe.accuracy(features["validation"], labels["validation"])
        return right, not probe.edge

    return max(probe_path(features["train"], labels["train"]), key=merit)


def probe_within(features: FeatureMatrix, labels: LabelVector) -> Probe:
    """The probe whose strength does best in cross-validation on the images it is fitted on.

    Among equals the one with the strongest penalty. A strength of 1 where a class has one image
    alone, of which no part can be held out.
    """
    right = np.zeros(len(STRENGTHS))
    for fitted, held in folds(labels):
        for number, probe in enumerate(probe_path(features[fitted], labels[fitted])):
            right[number] += (probe.predict(features[held]) == labels[held]).sum()
    best = int(right.argmax()) if right.any() else STRENGTHS.index(1.0)
    return probe_path(features, labels)[best]


def folds(labels: LabelVector) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images to fit on and images held out, by turns: a share of every class each time.

    One turn where images are many, none where a class has one alone.
    """
    # Here, since it costs every process three seconds that measures nothing.
    from sklearn.model_selection import StratifiedKFold

    _, counts = np.unique(labels, return_counts=True)
    turns = min(FOLDS, counts.min())
    if turns < 2:
        return []
    order = StratifiedKFold(turns, shuffle=True, random_state=0)
    every = list(order.split(labels[:, None], labels))
    return every[:1] if len(labels) > MANY else every


def probe_path(features: FeatureMatrix, labels: LabelVector) -> list[Probe]:
    """The probe of every strength, from the strongest penalty on, each begun at the one before."""
    # Here, since they cost every process three seconds that measures nothing.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler().fit(features)
    # Under a strong penalty the slopes of weights and biases are too far apart for float32.
    inputs = scaler.transform(features).astype(np.float64)
    model = LogisticRegression(max_iter=ITERATIONS, tol=TOLERANCE, warm_start=True)
    path = []
    # The products are small: several threads would wait for each other, ten times as long.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # ITERATIONS are the protocol
        inputs, basis = in_own_span(inputs)
        for strength in STRENGTHS:
            model.set_params(C=strength).fit(inputs, labels)
            weight = model.coef_ if basis is None else model.coef_ @ basis.T
            path.append(unscaled(weight, model.intercept_, model.classes_, scaler, strength))
    return path


def in_own_span(
    inputs: FeatureMatrix,
) -> tuple[Float[np.ndarray, "count dims"], Float[np.ndarray, "features dims"] | None]:
    """Inputs in an orthonormal basis of what they span, and the basis.

    Weights with an L2 penalty lie in that span, so the result is the same, sooner. Where images
    are not much fewer than features, inputs are left as they are, and there is no basis.
    """
    count, features = inputs.shape
    if 2 * count > features:
        return inputs, None
    basis = np.linalg.qr(inputs.T).Q
    return inputs @ basis, basis


def unscaled(
    weight: Float[np.ndarray, "rows features"],
    bias: Float[np.ndarray, " rows"],
    classes: Int64[np.ndarray, " classes"],
    scaler: "sklearn.preprocessing.StandardScaler",
    strength: float,
) -> Probe:
    """A probe of features as they come from weights of standardised ones."""
    if len(classes) == 2:  # scikit-learn keeps one row then, that of the second class
        weight = np.concatenate([np.zeros_like(weight), weight])
        bias = np.concatenate([np.zeros_like(bias), bias])
    weight = weight / scaler.scale_
    return Probe(weight, bias - weight @ scaler.mean_, classes, strength)


def nearest_neighbours(features: Features, labels: Labels) -> dict[str, float]:
    """Accuracy of weighted k-NN on every split but `train`, where its neighbours come from."""
    # Here, since it costs every process three seconds that measures nothing.
    from sklearn.neighbors import KNeighborsClassifier

    centre = features["train"].mean(axis=0, dtype=np.float64)
    count = min(NEIGHBOURS, len(features["train"]))
    votes = KNeighborsClassifier(
        count, metric="cosine", algorithm="brute", weights=similarity_weights
    )
    votes.fit(features["train"] - centre, labels["train"])
    return {
        split: float(votes.score(features[split] - centre, labels[split]))
        for split in features
        if split != "train"
    }


def similarity_weights(
    distances: Float[np.ndarray, "count neighbours"],
) -> Float[np.ndarray, "count neighbours"]:
    """The weight of a vote at a cosine distance (1 - similarity)."""
    return np.exp((1 - distances) / TEMPERATURE)
