"""What every component does on a tiny input: the guard of the behaviour versions.

A record's key holds the version of each component it used. So that a version is
raised when results change, and only then, the numbers that a component gives on fixed
inputs are stored in fingerprints.json and compared by test_fingerprints.py, to a
tolerance that other processors meet. After raising a version:
`python tests/fingerprints.py`, which refuses to store new numbers under an old version.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from families import VIT
from PIL import Image
from torch import nn

from lib import adversary, augment, evaluate, finetune, judge, measures, teacher, training
from lib.augment import AUGMENTATIONS, mixed
from lib.data.downloaded import VALIDATION, from_arrays
from lib.data.folder import read_folder
from lib.data.registry import DATASETS, SPLITS, Images, load
from lib.masking import STRATEGIES, draw
from lib.masks import Masks, masks_of
from lib.models.family import MODELS, Batch, Model, build
from lib.pixels import Shape, unit_range
from lib.run import settings
from lib.run.settings import Experiment
from lib.scores import scores_of
from lib.streams import stream
from lib.training import Recipe, State, adamw, descend

FILE = Path(__file__).with_name("fingerprints.json")
SHAPE = Shape(3, 16, 8, (4, 2))
READ_AS_FOLDERS = ("folder", "cifar10-jpeg", "imagenette", "imagenette-128")
TOLERANCE = {"probes": 0.03}  # relative; 2e-3 for the others

Values = list[float] | str | dict[str, dict[str, str]]  # the last: defaults by configuration
Component = tuple[int, Callable[[], Values]]  # its version, and what measures it


def some_bytes(count: int = 12) -> torch.Tensor:
    size = (count, SHAPE.channels, SHAPE.height, SHAPE.width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(0, "bytes"))


def some_masks(count: int = 12, ratio: float = 0.75) -> torch.Tensor:
    generator = stream(0, "masks")
    return draw("random", batch=count, grid=SHAPE.grid, ratio=ratio, generator=generator)


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]


def of_strategy(name: str) -> Values:
    ratios = sorted({STRATEGIES[name].nearest(ratio) for ratio in (0.25, 0.5, 0.75, 0.9)})
    drawn = []
    for grid in ((4, 4), (5, 7)):
        size = (20, 3, 2 * grid[0], 2 * grid[1])
        images = torch.randint(0, 256, size, dtype=torch.uint8, generator=stream(2, name))
        scores = scores_of(name, images, (2, 2))
        for ratio in ratios:
            asked = {"generator": stream(1, name), "scores": scores, "progress": 0.4}
            mask = draw(name, batch=20, grid=grid, ratio=ratio, **asked)
            drawn.append(mask.flatten())
    return digest(torch.cat(drawn))


def of_judge() -> Values:
    """What it says of two made-up images of another size."""
    images = unit_range(some_bytes(2))
    said = [judge.attention(images, SHAPE.patch), judge.error(images, SHAPE.patch)]
    return [value for scores in said for value in scores[:, ::5].flatten().tolist()]


def of_scorer(strategy: str) -> Values:
    """A few steps under a strategy that asks the model, and what is kept of its masks' state."""
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.3)
    model = build("mae", VIT, SHAPE, mean, std, stream(0, "weights"))
    masks = masks_of(model, strategy, 0.5, SHAPE.patch, 3, "float32")
    recipe = Recipe(epochs=2, batch_size=12, learning_rate=0.01, evaluations=2)
    history = training.train(model, some_bytes(24), some_bytes(6), masks, recipe, seed=3)
    kept = [tensor.norm().item() for tensor in masks.tensors().values()]
    return [*(row["loss"] for row in history), *kept[:8]]


def of_augmentation(name: str) -> Values:
    chosen = AUGMENTATIONS[name].draw(12, SHAPE.height, SHAPE.width, stream(0, name))
    made = AUGMENTATIONS[name].apply(some_bytes(), chosen).float()
    # With a ramp, what moves within an image shows, and rounding does not.
    ramp = torch.linspace(0, 1, made[0].numel()).reshape(made.shape[1:])
    return (made * ramp).mean(dim=(1, 2, 3)).tolist()


def of_data(name: str) -> Values:
    """Embedded sets as they are; the others by what their readers do with made-up images."""
    if DATASETS[name].embedded:
        return ", ".join(load(name, split, size=8).fingerprint for split in SPLITS)
    if name in VALIDATION:
        return ", ".join(from_made_up_arrays(name, split).fingerprint for split in SPLITS)
    if name not in READ_AS_FOLDERS:
        raise ValueError(f"no test reads {name}: embed it, or say in of_data how it is read")
    with tempfile.TemporaryDirectory() as place:
        for number in range(30):
            file = Path(place, "ab"[number % 2], f"{number:02}.png")
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(some_bytes(30)[number].permute(1, 2, 0).numpy()).save(file)
        found = [read_folder(Path(place), split, 6, name, "", "") for split in SPLITS]
        return ", ".join(f"{images.fingerprint} {images.sha256[:6]}" for images in found)


def from_made_up_arrays(name: str, split: str) -> Images:
    count = VALIDATION[name] + 20
    images = np.arange(count * 48, dtype=np.uint32).astype(np.uint8).reshape(count, 4, 4, 3)
    return from_arrays(name, split, 2, images, np.arange(count) % 10, "ab", "")


def of_model(name: str) -> Values:
    """Two steps of its training, then what it answers."""
    images, masks = unit_range(some_bytes()), some_masks()
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.3)
    model = build(name, {}, SHAPE, mean, std, stream(0, "weights"))
    found = []
    if MODELS[name].trained:
        model.prepare(some_bytes(30))
        found += steps(model, images, masks)
    else:
        model.fit(images)
    with torch.no_grad():
        if hasattr(model, "reconstruct"):
            found.append(model.reconstruct(images, masks).norm().item())
        if hasattr(model, "embed"):
            found.append(model.embed(images).norm().item())
    return found


def steps(model: Model, images: torch.Tensor, masks: torch.Tensor) -> list[float]:
    """The losses of two steps, and the loss after them."""
    recipe = Recipe(epochs=1, learning_rate=1e-3)
    optimisers = {name: adamw(group, recipe) for name, group in model.groups().items()}
    state = State(model, optimisers, total=2)
    found = []
    for step in range(2):
        batch = Batch(images, masks, len(images), step=step)
        losses = descend(state, batch, recipe, 1, training.ALONE)
        found += [loss.item() for loss in losses.values()]
        state.step += 1
    return [*found, model.loss(images, masks).item()]


class Toy(Model):
    """The least that can be trained and judged."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([[0.1]]))

    def reconstruct(self, images, mask):
        return (images * self.gain + 0.3 * mask.float().mean()).clamp(0, 1)

    def loss(self, images, mask):
        return ((self.reconstruct(images, mask) - images) ** 2)[mask.any(dim=1)].mean()


def of_training() -> Values:
    """A history with crops, clipping and an uneven last part of the validation images."""
    model, found = Toy(), []
    recipe = Recipe(
        epochs=3, batch_size=5, learning_rate=0.05, clip=0.1, augment="crop_flip", evaluations=3
    )
    masks = Masks("random", 0.5, SHAPE.patch, seed=3)
    brighter = torch.cat([some_bytes(512) // 4, some_bytes(60)])
    for row in training.train(model, some_bytes(23), brighter, masks, recipe, seed=3):
        found += [row[name] for name in ("step", "learning_rate", "loss", "validation_loss")]
    return [*found, model.gain.item()]


def of_measures() -> Values:
    """Every measure on images that a toy has changed, under the masks on which models are judged."""
    device = torch.device("cpu")
    rows = evaluate.per_image(Toy(), some_bytes(), "random@0.75", "test", SHAPE, device)
    return [measure["value"] for measure in evaluate.summarise(rows)["test"].values()]


def of_probes() -> Values:
    """Weights and accuracies on overlapping classes, where strength and iterations matter."""
    random = np.random.default_rng(0)
    labels = {split: np.arange(300) % 5 for split in SPLITS}
    features = {
        split: (random.normal(size=(300, 40)) + labels[split][:, None] * 0.1).astype(np.float32)
        for split in SPLITS
    }
    best = measures.best_probe(features, labels)
    path = measures.probe_path(features["train"], labels["train"])
    near = measures.nearest_neighbours(features, labels)
    found = [best.strength, best.accuracy(features["test"], labels["test"]), near["test"]]
    return [*found, *(float(np.abs(probe.weight).sum()) for probe in path)]


def of_finetuning() -> Values:
    """What classifiers say of made-up images: after a few steps with drop path, decay by layer and
    smoothing; a linear one on frozen features, and the nearest image.
    """
    mean, std = torch.full((3,), 0.5), torch.full((3,), 0.3)
    model = build("mae", VIT, SHAPE, mean, std, stream(0, "weights"))
    about = {"variant": "toy", "sha256": "", "licence": "", "citation": ""}
    splits = {
        name: Images(some_bytes(n), torch.arange(n) % 3, classes=("a", "b", "c"), **about)
        for name, n in (("train", 30), ("validation", 9))
    }
    how = finetune.FineTune(epochs=2, least_steps=8, batch_size=8, drop_path=0.3, extra_steps=2)
    said = []
    for method in ("all", "linear", "nearest"):
        asked = how.model_copy(update={"method": method})
        made, _ = finetune.fine_tune(model, splits, asked, 0.5, seed=3, precision="float32")
        said += made(unit_range(some_bytes(4))).flatten().tolist()
    return said


def of_mixing() -> Values:
    """Numbers of images and labels mixed in either way."""
    images, found = unit_range(some_bytes(4)), []
    for mixup, cutmix in ((0.8, 0.0), (0.0, 1.0), (0.8, 1.0)):
        generator = stream(1, "noise")
        made = mixed(images, torch.arange(4), 4, mixup=mixup, cutmix=cutmix, generator=generator)
        found += [number for part in made for number in part.flatten()[:12].tolist()]
    return found


def defaults(*configs) -> Values:
    """The defaults of configurations, which a key leaves out."""
    found = {}
    for config in configs:
        fields = config.model_fields.items()
        found[config.__name__] = {name: repr(field.default) for name, field in fields}
    return found


def components() -> dict[str, Component]:
    """Every component: its version and what measures it; of configurations, the defaults too."""
    found: dict[str, Component] = {}
    for name, entry in DATASETS.items():
        found[f"data.{name}"] = (entry.version, lambda name=name: of_data(name))
    for name, entry in MODELS.items():
        found[f"model.{name}"] = (entry.version, lambda name=name: of_model(name))
        config = entry.config
        found[f"defaults of model.{name}"] = (
            entry.version,
            lambda config=config: defaults(config),
        )
    for name, entry in STRATEGIES.items():
        found[f"masking.{name}"] = (entry.version, lambda name=name: of_strategy(name))
    for name, entry in AUGMENTATIONS.items():
        found[f"augment.{name}"] = (entry.version, lambda name=name: of_augmentation(name))
    found["judge"] = (judge.VERSION, of_judge)
    found["teacher"] = (teacher.VERSION, lambda: of_scorer("hardest"))
    found["adversary"] = (adversary.VERSION, lambda: of_scorer("adversarial"))
    found["experiment"] = (
        settings.VERSION,
        lambda: defaults(Experiment, Recipe),
    )
    found["training"] = (training.VERSION, of_training)
    found["measures"] = (measures.MEASURES, of_measures)
    found["probes"] = (measures.PROBES, of_probes)
    found["finetuning"] = (finetune.VERSION, of_finetuning)
    found["defaults of finetuning"] = (finetune.VERSION, lambda: defaults(finetune.FineTune))
    found["mixing"] = (augment.MIXING, of_mixing)
    return found


def differs(name: str, stored: Values, now: Values) -> bool:
    """Whether results have changed; a field that was added to a configuration changes none."""
    if isinstance(stored, dict) and isinstance(now, dict):
        return any(
            now.get(config, {}).get(field) != default
            for config, fields in stored.items()
            for field, default in fields.items()
        )
    if isinstance(stored, str) or isinstance(now, str) or len(stored) != len(now):
        return stored != now
    return not np.allclose(now, stored, rtol=TOLERANCE.get(name, 2e-3), atol=1e-6)


def main() -> int:
    """Store the fingerprints of new components and of those whose version was raised."""
    stored = json.loads(FILE.read_text()) if FILE.exists() else {}
    fresh, refused = {}, []
    for name, (version, measure) in components().items():
        now = {"version": version, "values": measure()}
        old = stored.get(name)
        if old and old["version"] == version:
            refused += [name] if differs(name, old["values"], now["values"]) else []
            now = now if isinstance(now["values"], dict) else old
        fresh[name] = now
    if refused:
        print(
            f"the results of {', '.join(refused)} changed and the version did not: raise it beside the code, or mend the code (of what is new and not committed: git checkout tests/fingerprints.json, then run this again)"
        )
        return 1
    FILE.write_text(json.dumps(fresh, indent=1, sort_keys=True) + "\n")
    print(
        f"{len(fresh)} fingerprints in {FILE.name}; new: {', '.join(fresh.keys() - stored) or 'none'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
