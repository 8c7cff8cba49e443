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
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from lib import evaluate, finetune, metrics, mixing, probes, training
from lib.augment import AUGMENTATIONS
from lib.data import DATASETS, Images, load
from lib.data.downloaded import VALIDATION, from_arrays
from lib.data.folder import read_folder
from lib.masking import STRATEGIES, draw
from lib.models import MODELS, build
from lib.optim import Batch, GradientStep, StepSettings
from lib.pixels import Shape, unit_range
from lib.streams import stream

FILE = Path(__file__).with_name("fingerprints.json")
SHAPE = Shape(3, 16, 8, (4, 2))
TOLERANCE = {"probes": 0.03}  # relative; 2e-3 for the others

Values = list[float] | str


def some_bytes(count: int = 12, shape: Shape = SHAPE) -> torch.Tensor:
    return torch.randint(0, 256, (count, shape.channels, shape.height, shape.width), dtype=torch.uint8, generator=stream(0, "bytes"))


def some_masks(count: int = 12, ratio: float = 0.75) -> torch.Tensor:
    return draw("random", batch=count, grid=SHAPE.grid, ratio=ratio, generator=stream(0, "masks"))


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]


def of_strategy(name: str) -> Values:
    low, high = STRATEGIES[name].ratios
    ratios = sorted({min(max(ratio, low), high) for ratio in (0.25, 0.5, 0.75, 0.9)})
    grids = ((4, 4), (5, 7))
    return digest(torch.cat([draw(name, batch=20, grid=g, ratio=r, generator=stream(1, name)).flatten() for g in grids for r in ratios]))


def of_augmentation(name: str) -> Values:
    chosen = AUGMENTATIONS[name].draw(12, SHAPE.height, SHAPE.width, stream(0, name))
    made = AUGMENTATIONS[name].apply(some_bytes(), chosen).float()
    ramp = torch.linspace(0, 1, made[0].numel()).reshape(made.shape[1:])  # what moves within an image shows, rounding does not
    return (made * ramp).mean(dim=(1, 2, 3)).tolist()


def of_data(name: str) -> Values:
    """Embedded sets as they are; the others by what their readers do with made-up images."""
    if DATASETS[name].embedded:
        return ", ".join(load(name, split, size=8).fingerprint for split in ("train", "validation", "test"))
    if name in VALIDATION:
        count = VALIDATION[name] + 20
        images = np.arange(count * 48, dtype=np.uint32).astype(np.uint8).reshape(count, 4, 4, 3)
        return ", ".join(
            from_arrays(name, s, 2, images, np.arange(count) % 10, "ab", "").fingerprint for s in ("train", "validation", "test")
        )
    with tempfile.TemporaryDirectory() as place:
        for number in range(30):
            file = Path(place, "ab"[number % 2], f"{number:02}.png")
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(some_bytes(30)[number].permute(1, 2, 0).numpy()).save(file)
        return ", ".join(read_folder(Path(place), s, 6, name, "", "").fingerprint for s in ("train", "validation", "test"))


def of_model(name: str) -> Values:
    """Loss before and after two steps, and the size of what it predicts."""
    family, images, masks = MODELS[name], unit_range(some_bytes()), some_masks()
    model = build(name, {}, SHAPE, torch.full((3,), 0.5), torch.full((3,), 0.3), stream(0, "weights"))
    found = []
    if family.trained:
        step = family.make_step(model, StepSettings(1e-3, 0.05))
        losses = [step(Batch(images, masks, len(images), stream(i, "noise"))) for i in range(2)]
        found += [loss.item() for row in losses for loss in row.values()] + [model.loss(images, masks).item()]
    else:
        model.fit(images)
    with torch.no_grad():
        found += [model.reconstruct(images, masks).norm().item()] if hasattr(model, "reconstruct") else []
        found += [model.embed(images).norm().item()] if hasattr(model, "embed") else []
    return found


class Toy(nn.Module):
    """The least that can be trained and judged."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([[0.1]]))

    def reconstruct(self, images, mask):
        return (images * self.gain + 0.3 * mask.float().mean()).clamp(0, 1)

    def loss(self, images, mask):
        return ((self.reconstruct(images, mask) - images) ** 2)[mask.any(dim=1)].mean()


def of_training() -> Values:
    model, found = Toy(), []
    recipe = training.Recipe(epochs=3, batch_size=5, learning_rate=0.05, clip=0.1, augment="crop_flip", evaluations=3)

    def draw_mask(batch, generator, progress):
        return draw("random", batch=batch, grid=SHAPE.grid, ratio=0.25 + 0.5 * progress, generator=generator)

    step = GradientStep(model, StepSettings(recipe.learning_rate, recipe.weight_decay, clip=recipe.clip))
    for row in training.train(model, step, some_bytes(23), some_bytes(7), draw_mask, recipe, seed=3):
        found += [row[name] for name in ("step", "learning_rate", "loss", "validation_loss")]
    return [*found, model.gain.item()]


def of_metrics() -> Values:
    """Every measure on images that a toy has changed, under the masks on which models are judged."""
    rows = evaluate.per_image(Toy(), some_bytes(), "random@0.75", "test", SHAPE, torch.device("cpu"))
    return [measure["value"] for measure in evaluate.summarise(rows)["test"].values()]


def of_probes() -> Values:
    random = np.random.default_rng(0)
    labels = {split: np.arange(300) % 5 for split in ("train", "validation", "test")}
    features = {split: (random.normal(size=(300, 8)) + labels[split][:, None] * 0.3).astype(np.float32) for split in labels}
    return [*probes.linear_probe(features, labels).values(), *probes.nearest_neighbours(features, labels).values()]


def of_finetuning() -> Values:
    """Logits after a few steps on made-up digits, with drop path, decay by layer and label smoothing."""
    options = {"dim": 8, "depth": 2, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
    model = build("mae", options, SHAPE, torch.full((SHAPE.channels,), 0.5), torch.full((SHAPE.channels,), 0.3), stream(0, "weights"))
    held = {"variant": "toy", "sha256": "", "licence": "", "citation": "", "classes": ("a", "b", "c")}
    splits = {name: Images(some_bytes(n), torch.arange(n) % 3, **held) for name, n in (("train", 30), ("validation", 9))}
    how = finetune.FineTune(epochs=2, least_steps=8, batch_size=8, drop_path=0.3)
    classifier, _ = finetune.fine_tune(model, splits, how, 0.5, seed=3, precision="float32")
    return classifier(some_bytes(4).float() / 255).flatten().tolist()


def of_mixing() -> Values:
    """Numbers of images and labels mixed in either way."""
    images, found = some_bytes(4).float() / 255, []
    for mixup, cutmix in ((0.8, 0.0), (0.0, 1.0), (0.8, 1.0)):
        mixed = mixing.mixed(images, torch.arange(4), 4, mixup=mixup, cutmix=cutmix, generator=stream(1, "noise"))
        found += [number for part in mixed for number in part.flatten()[:12].tolist()]
    return found


def components() -> dict[str, tuple[int, object]]:
    """Every component: its version and the function that measures it."""
    found = {f"data.{name}": (entry.version, lambda name=name: of_data(name)) for name, entry in DATASETS.items()}
    found |= {f"model.{name}": (entry.version, lambda name=name: of_model(name)) for name, entry in MODELS.items()}
    found |= {f"masking.{name}": (entry.version, lambda name=name: of_strategy(name)) for name, entry in STRATEGIES.items()}
    found |= {f"augment.{name}": (entry.version, lambda name=name: of_augmentation(name)) for name, entry in AUGMENTATIONS.items()}
    return found | {
        "training": (training.VERSION, of_training),
        "metrics": (metrics.VERSION, of_metrics),
        "probes": (probes.VERSION, of_probes),
        "finetuning": (finetune.VERSION, of_finetuning),
        "mixing": (mixing.VERSION, of_mixing),
    }


def differs(name: str, stored: Values, now: Values) -> bool:
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
            now = old
        fresh[name] = now
    if refused:
        print(f"the results of {', '.join(refused)} changed and the version did not: raise it beside the code, or mend the code")
        return 1
    FILE.write_text(json.dumps(fresh, indent=1) + "\n")
    print(f"{len(fresh)} fingerprints in {FILE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
