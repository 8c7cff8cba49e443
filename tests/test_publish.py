"""What is published is what the committed records say."""

import pytest

from lib import publish, records
from lib.paths import REPORTS, ROOT


@pytest.mark.parametrize("scale", publish.SCALES)
def test_published_tables_are_those_of_the_committed_records(scale):
    file = REPORTS / "tables" / f"{scale}.csv"
    assert (file.read_text() if file.exists() else "") == publish.table(scale)


def test_the_readme_shows_the_published_tables():
    text = (ROOT / "README.md").read_text()
    assert publish.START in text and publish.END in text
    assert text == publish.readme(text)


def test_the_page_on_speed_shows_the_committed_benchmarks():
    text = publish.SPEED.read_text()
    assert publish.START in text and publish.END in text and text == publish.speed(text)


def test_what_the_readme_says_of_few_labels_holds_in_the_published_table():
    frame = publish.views()[publish.FEW_LABELS].set_index(["data", "training"])
    shares = ["1 % of labels", "10 % of labels", "100 % of labels"]
    accuracy = frame[shares].map(lambda text: float(text.split()[0]))
    mnist = accuracy.loc["mnist"]
    masked, others = mnist.loc["pre-trained 5 epochs, random 75%"], mnist.filter(regex="not masked|scratch|Raw", axis=0)
    steps_of_both = publish.views()[publish.GAINS].set_index(["data", "minus"]).loc[("mnist", "from scratch, 9 epochs"), shares]
    low, *rest = (mean - half for mean, half in (map(float, text.split(" ± ")) for text in steps_of_both))
    assert (masked[shares[0]] > others[shares[0]] + 0.08).all() and low > 0.09 and max(rest) < 0
    assert (mnist.loc["pre-trained 5 epochs, not masked"] < mnist.loc["from scratch, 4 epochs"]).all()
    gains = publish.views()[publish.GAINS].set_index(["data", "minus"]).loc[publish.MAIN["data"]]
    scratch, plain = (
        [tuple(map(float, text.split(" ± "))) for text in gains.loc[name, shares]]
        for name in ("from scratch, 20 epochs", "pre-trained 15 epochs, not masked")
    )
    assert scratch[0][0] == pytest.approx(0.04, abs=0.005) and scratch[0][0] > scratch[0][1] and scratch[2][0] < -scratch[2][1]
    assert abs(plain[0][0]) < plain[0][1] and plain[1][0] < -plain[1][1]
    assert (
        accuracy.loc[publish.MAIN["data"]].loc["pre-trained 15 epochs, not masked"][shares[2]]
        < accuracy.loc[publish.MAIN["data"]].loc["from scratch, 20 epochs"][shares[2]]
    )
    for data, short, long in ((publish.MAIN["data"], 15, 60), ("cifar10-jpeg", 5, 20), ("mnist", 5, 20)):
        masked = [accuracy.loc[data].loc[f"pre-trained {epochs} epochs, random 75%"] for epochs in (short, long)]
        assert (masked[1][shares[:2]] > masked[0][shares[:2]]).all()
        longest = {publish.MAIN["data"]: 35, "cifar10-jpeg": 9}.get(data)
        assert longest is None or accuracy.loc[data][shares[2]].idxmax() == f"from scratch, {longest} epochs"


def test_gains_are_the_differences_of_the_published_means_with_intervals_of_their_own():
    """The mean of paired differences is the difference of the means; its interval is not that of either."""
    means = publish.tables.read_published()
    means = means[means["split"] == "test"].set_index(["data", "training", "measure"])["mean"]
    frame = publish.gains()
    assert (frame["seeds"] >= 3).all() and {"from scratch, 9 epochs", "Raw pixels, linear classifier"} < set(frame["minus"])
    for _, row in frame.iterrows():
        for share in (0.01, 0.1, 1):
            name = f"finetune_accuracy@{share:g}"
            gain = means[row["data"], row["training"], name] - means[row["data"], row["minus"], name]
            assert float(row[f"{100 * share:g} % of labels"].split()[0]) == pytest.approx(gain, abs=6e-4)


@pytest.mark.parametrize("changes, fair", [({}, True), ({"epochs": 20}, False), ({"mask_ratio": 0.75}, False), ({"epochs": 0, "tuned": 4}, True),
                                           ({"epochs": 0, "tuned": 9}, True), ({"epochs": 0, "tuned": 24}, False)])  # fmt: skip
def test_gains_are_over_opponents_of_the_same_length(changes, fair):
    masked = {"model": "mae", "mask_ratio": 0.75, "recipe": {"epochs": 5}, "fine_tune": {"epochs": 4}}
    given = {"epochs": 5, "tuned": 4, "mask_ratio": 0.0} | changes
    other = {
        "model": "mae",
        "mask_ratio": given["mask_ratio"],
        "recipe": {"epochs": given["epochs"]},
        "fine_tune": {"epochs": given["tuned"]},
    }
    assert publish.opposed(masked, other) is fair and not publish.opposed(other, masked)


def test_bf16_learns_what_float32_learns():
    """Over three seeds, the loss on validation images after the same steps."""
    pairs = publish.precisions()
    masked = pairs[pairs["training"] == "ViT-MAE, random 75%"]
    assert masked.groupby("data")["seed"].nunique().max() >= 3
    assert masked["difference"].str.rstrip("%").astype(float).abs().max() < 1


def test_committed_records_are_whole_and_hold_no_path():
    for scale in publish.SCALES:
        for file in sorted((REPORTS / "results" / scale).glob("*.json")):
            record = records.read(file)
            assert record.scale == scale and file.stem == record.name
            assert '"/' not in record.model_dump_json(), "no value is an absolute path"
            if any("/" in name for name in record.metrics["test"]):
                rows = records.read_images(file, record)
                name = next(name for name in record.metrics["test"] if name.endswith("psnr_hidden"))
                chosen = rows[(rows["split"] == "test") & (rows["mask"] == name.split("/")[0])]
                assert len(chosen) == record.metrics["test"][name].n


def published(measure):
    from lib import tables

    table = tables.read_published()
    table = table[(table["split"] == "test") & (table["measure"] == measure) & (table["data"] == publish.MAIN["data"])]
    table = table[table["epochs"].isin(publish.MAIN["epochs"])]
    return table.set_index("training")["mean"]


def test_the_sentences_of_the_readme_hold_in_the_published_table():
    probe, psnr, ssim = (published(name) for name in ("probe_accuracy", "random@0.75/psnr_hidden", "random@0.75/ssim_hidden"))
    masked, plain, raw = "ViT-MAE, random 75%", "ViT-MAE, not masked", "Raw pixels"
    assert probe[plain] <= probe["ViT-MAE, random 75%, untrained"] + 0.01 and probe[masked] > probe[plain] + 0.05
    assert psnr[masked] - psnr["Autoencoder (MLP), random 75%"] < 0.6 and probe["Autoencoder (MLP), random 75%"] - probe[raw] < 0.05
    assert psnr[masked] > psnr["Biharmonic inpainting"] and ssim.idxmax() == "Biharmonic inpainting"
    strategies = {name: f"ViT-MAE, {name} 75%" for name in ("random", "block", "grid")}
    for name, row in strategies.items():
        gaps = published(f"{name}@0.75/psnr_hidden")
        assert max(strategies.values(), key=lambda other: gaps[other]) == row
    worth = [probe[row] for row in strategies.values()]
    assert max(worth) - min(worth) < 0.02
