"""Trained weights to give away, with a model card: `python -m lib.share RECORD NAME --data ROOT`.

A published run's ViT-MAE, rounded to bf16 (half the size), in the published layout of the
Hugging Face hub, under reports/weights. What its card says was measured on these very
weights, after rounding; metrics.json holds it, and the card is made from it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from lib import records
from lib.experiment import measure, run
from lib.files import replace_file
from lib.paths import REPORTS, resolve
from lib.pretrained import load_pretrained, save_pretrained
from lib.settings import Execution, Experiment

WEIGHTS = REPORTS / "weights"
CARD = """---
library_name: transformers
tags: [masked-autoencoder, self-supervised, reproducibility]
license: mit
---
# {name}

A small ViT-MAE (encoder {dim} x {depth}, decoder {decoder_dim} x {decoder_depth}; {parameters:,} weights in bf16), trained to fill in
hidden patches.

- **Data:** {variant} at {size} pixels, {train:,} training images. Licence of the data: {licence}
- **Recipe:** {epochs} epochs, batch {batch_size}, AdamW at {learning_rate:g}, augmentation {augment}; {mask_ratio:.0%} of the patches
  of {patch} pixels hidden ({strategy}), loss on {loss_on} pixels, {precision}, seed {seed}.
  {minutes:.0f} minutes on {threads} core(s), {processor}.
- **Record:** [{record}](../../results/{scale}/{record}.json), commit {commit}.

| on {n} test images | rounded to bf16 | as trained |
| --- | --- | --- |
{rows}

(Probe and k-NN: on {probe_n} test images, from {probe_images} labelled ones.)

```python
from lib.pretrained import load_pretrained
from lib.streams import stream

model = load_pretrained("reports/weights/{name}")
mask = model.random_mask(len(images), stream(0, "mask"))  # True = hidden
pictures = model.reconstruct(images, mask)  # images in [0, 1], {size}x{size}
```

`transformers.ViTMAEForPreTraining.from_pretrained` reads it, too. Pixels are standardised as preprocessor_config.json says.

**Limits.** A study object: a small network, {size} pixels, {classes} classes. It gives blurs in the right colours, not texture; where
the loss is on hidden pixels its predictions of *visible* patches mean nothing. It inherits whatever bias its training images have.
"""
SHOWN = {
    "random@0.75/psnr_hidden": "PSNR, hidden pixels [dB]",
    "random@0.75/ssim_hidden": "SSIM, hidden pixels",
    "probe_accuracy": "linear probe",
    "knn_accuracy": "k-NN",
}


def share(file: Path, name: str, data_root: str) -> Path:
    """Write the weights of a record's run, their measures and their card; trains again where the weights are not at hand."""
    record = records.read(file)
    experiment = Experiment.model_validate_json(json.dumps(record.parameters))
    if experiment.model != "mae" or experiment.fine_tune or experiment.key != record.key:
        raise ValueError(f"{file} is no record of a ViT-MAE's pre-training that today's code would make alike (see make stale)")
    found = run(experiment, Execution(scale=record.scale, data_root=data_root))
    folder = WEIGHTS / name
    save_pretrained(found.model, folder, torch.bfloat16)
    measured, _ = measure(load_pretrained(folder).eval(), experiment, found.splits, torch.device("cpu"))
    shown = {measure: measured["test"][measure] for measure in SHOWN}
    record = found.record  # a new one, where it was trained again
    about = {"name": name, "record": record.name, "scale": record.scale, "licence": found.splits["train"].licence}
    about |= {"side": found.model.space.shape.height, "test": shown}
    for text, file_name in ((json.dumps(about, indent=1) + "\n", "metrics.json"), (card(about, record), "README.md")):
        replace_file(folder / file_name, lambda aside, text=text: aside.write_text(text))
    return folder


def card(about: dict[str, Any], record: records.Record) -> str:
    """The model card, from metrics.json and the record of the run."""
    given, machine = record.parameters, record.provenance.machine
    rows = [
        f"| {title} | {about['test'][name]['value']:.3f} | {record.value(name):.3f} |" for name, title in SHOWN.items()
    ]  # fmt: skip
    return CARD.format(
        **{name: given["options"][name] for name in ("dim", "depth", "decoder_dim", "decoder_depth", "loss_on")},
        **{name: given["recipe"][name] for name in ("epochs", "batch_size", "learning_rate", "augment", "precision")},
        **{name: given[name] for name in ("mask_ratio", "strategy", "seed")},
        probe_images=given["probe_images"] or record.data.counts["train"],
        **{name: about[name] for name in ("name", "record", "scale", "licence")},
        parameters=record.model.parameters,
        variant=record.data.variant,
        classes=record.data.classes,
        train=record.data.counts["train"],
        size=about["side"],
        patch=given["patch_size"],
        minutes=record.provenance.seconds["training"] / 60,
        processor=machine["processor"],
        threads=machine["threads"],
        commit=(record.provenance.commit or "unknown")[:10],
        rows="\n".join(rows),
        n=about["test"]["random@0.75/psnr_hidden"]["n"],
        probe_n=about["test"]["probe_accuracy"]["n"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lib.share", description=__doc__.splitlines()[0])
    parser.add_argument("record", help="a record of a ViT-MAE, such as reports/results/standard/....json")
    parser.add_argument("name", help="of the folder under reports/weights")
    parser.add_argument("--data", default="data", help="folder that holds the data set")
    asked = parser.parse_args()
    print("wrote", share(resolve(asked.record), asked.name, asked.data))


if __name__ == "__main__":
    main()
