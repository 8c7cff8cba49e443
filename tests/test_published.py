"""The model is the published one: equal to an independent implementation, readable both ways.

The transformers library's ViT-MAE is the independent truth, in values and gradients. The rest is
about files of others: what does not describe a ViT-MAE is refused by name, before it costs
memory.
"""

import argparse
import json
import pickle
import warnings

import pytest
import torch
from families import VIT
from safetensors.torch import load_file, save_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from lib.masking import draw
from lib.models.family import build
from lib.models.published import (
    IMAGENET_MEAN,
    PretrainedError,
    interpolate_positions,
    load_pretrained,
    save_pretrained,
)
from lib.models.published_names import relaid, renamed
from lib.models.transformer import sincos_positions
from lib.pixels import Shape
from lib.streams import stream

SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 60,
    "image_size": 16,
    "patch_size": 4,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 64,
}
BASE = {
    "num_hidden_layers": 2,
    "decoder_num_hidden_layers": 2,
}  # else the library's own defaults: ViT-B/16 at 224
EIGHTH = {"patch_size": 2, "num_channels": 1, "image_size": 8}  # grey, and more tokens


def theirs(**options) -> ViTMAEForPreTraining:
    """A model of the transformers library whose every number is random, positions too.

    (It draws some as zero.)
    """
    model = ViTMAEForPreTraining(ViTMAEConfig(**options))
    generator = stream(0, "theirs")
    for name, parameter in model.named_parameters():
        std = 0.5 if "bias" in name else parameter.shape[-1] ** -0.5
        torch.nn.init.normal_(parameter, std=std, generator=generator)
        if "pos" in name:
            parameter.data[:, 0] = 0
        if "norm" in name and name.endswith("weight"):
            parameter.data.add_(1)
    return model


@pytest.fixture(
    scope="module",
    params=[SMALL, SMALL | EIGHTH, SMALL | {"norm_pix_loss": True}],
    ids=["small", "grey", "normalised"],
)
def both(request, tmp_path_factory):
    """Their model and ours with the weights it has saved."""
    model, folder = theirs(**request.param), tmp_path_factory.mktemp("theirs")
    model.save_pretrained(folder)
    return model, load_pretrained(folder)


def batch_for(ours, count=3):
    """Images, a mask, and the noise for which their model draws the same mask."""
    generator = stream(1, "batch")
    shape = ours.space.shape
    images = torch.rand(count, shape.channels, shape.height, shape.width, generator=generator)
    mask = draw("random", batch=count, grid=ours.grid, ratio=0.75, generator=generator)
    return images, mask, mask.float() + torch.arange(mask.shape[1]) / 1000


def compare(model, ours, relative, floor):
    images, mask, noise = batch_for(ours)
    images = images.to(ours.cls_token.dtype)
    noise = noise.to(ours.cls_token.dtype)
    model.zero_grad()
    ours.zero_grad()
    pixels = ours.space.standardise(images)
    expected = model(pixels, noise=noise)
    assert torch.equal(expected.mask.bool(), mask)
    features = model.vit(pixels, noise=noise).last_hidden_state
    loss = ours.loss(images, mask)
    close(ours(images, mask), expected.logits, relative, floor, "prediction")
    close(ours.encode(images, mask), features, relative, floor, "features")
    close(loss, expected.loss, relative, floor, "loss")
    loss.backward()
    expected.loss.backward()
    wanted = gradients_of(model)
    own = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert own.keys() == wanted.keys()
    for name, gradient in own.items():
        close(gradient, wanted[name], relative, floor, name)


def close(found, expected, relative, floor, name):
    distance = (found - expected).norm().item()
    assert distance <= relative * expected.norm().item() + floor, (
        f"{name}: {distance} apart, norm {expected.norm().item()}"
    )


def gradients_of(model) -> dict[str, torch.Tensor]:
    """Their gradients under our names: they are renamed and laid out as weights are."""
    names = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.requires_grad
    }
    return {
        name: tensor for name, tensor in relaid(renamed(names)).items() if "positions" not in name
    }


def test_prediction_features_loss_and_every_gradient_are_theirs(both):
    compare(*both, relative=1e-5, floor=1e-6)


def test_in_double_precision_they_agree_to_nine_digits(both):
    model, ours = both
    compare(model.double(), ours.double(), relative=1e-9, floor=1e-11)
    model.float()
    ours.float()


def test_at_base_size_too(tmp_path):
    model = theirs(**BASE)
    model.save_pretrained(tmp_path)
    compare(model, load_pretrained(tmp_path), relative=1e-5, floor=1e-5)


def test_what_we_save_their_library_loads_bit_equal(both, tmp_path):
    model, ours = both
    save_pretrained(ours, tmp_path)
    back, about = ViTMAEForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(about.values())
    expected = model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in back.state_dict().items())
    config = {
        name: getattr(model.config, name)
        for name in (*SMALL, "norm_pix_loss", "layer_norm_eps", "num_channels")
    }
    assert {name: getattr(back.config, name) for name in config} == config


def tiny(family="mae", patch=(4, 4), size=(8, 8), **options):
    """One of ours, of grey images, with statistics that have no short decimals."""
    mean = torch.tensor([1 / 3])
    std = torch.tensor([1e-3 / 3])
    shape = Shape(1, *size, patch)
    return build(family, VIT | options, shape, mean, std, stream(3, "weights"))


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in pairs)


def test_what_we_save_we_load_bit_equal_with_its_pixel_statistics(tmp_path):
    model = tiny(decoder_mlp_ratio=1.5)
    save_pretrained(model, tmp_path)
    back = load_pretrained(tmp_path)
    assert same(model, back)
    assert torch.equal(back.positions, model.positions)
    assert torch.equal(back.decoder_positions, model.decoder_positions)
    assert back.config.eps == model.config.eps


def test_who_may_read_the_configuration_may_read_the_weights(tmp_path):
    save_pretrained(tiny(), tmp_path)
    assert len({file.stat().st_mode for file in tmp_path.iterdir()}) == 1


def test_oblong_images_keep_their_size(tmp_path):
    model = tiny(size=(8, 16))
    save_pretrained(model, tmp_path)
    back = load_pretrained(tmp_path)
    assert back.space.shape == model.space.shape
    assert torch.equal(back.positions, model.positions)


def test_weights_can_be_saved_in_half_the_bytes_and_positions_stay_exact(tmp_path):
    model = tiny()
    save_pretrained(model, tmp_path, torch.bfloat16)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored["vit.embeddings.position_embeddings"].dtype == torch.float32
    assert stored["vit.embeddings.cls_token"].dtype == torch.bfloat16
    back = load_pretrained(tmp_path)
    assert torch.equal(back.positions, model.positions)
    for name, weight in model.named_parameters():
        assert torch.equal(back.get_parameter(name), weight.bfloat16().float()), name


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"family": "mae_tokens"}, "no place for a TokenMAE"),
        ({"family": "mae_visible"}, "no place for a VisibleMAE"),
        ({"family": "mae_cross"}, "no place for a CrossMAE"),
        ({"patch": (4, 2)}, r"oblong patches \(4x2\)"),
        ({"pooling": "cls"}, "pooling='cls'"),
    ],
)
def test_what_the_layout_has_no_place_for_is_not_saved(model, message, tmp_path):
    with pytest.raises(PretrainedError, match=message):
        save_pretrained(tiny(**model), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_the_published_names_are_read(tmp_path):
    """As on the hub: with `decoder_layers`, where today's transformers writes `decoder_encoder.layer`."""
    model = theirs(**SMALL)
    model.save_pretrained(tmp_path / "new")
    ours = load_pretrained(tmp_path / "new")
    save_pretrained(ours, tmp_path / "published")
    names = load_file(tmp_path / "published" / "model.safetensors").keys()
    assert "decoder.decoder_layers.0.attention.attention.query.weight" in names
    again = load_pretrained(tmp_path / "published")
    assert same(ours, again)


def original(model) -> dict[str, torch.Tensor]:
    """Weights of theirs in the layout of the original release: joined queries, keys and values, other names."""
    found, state = {}, model.state_dict()
    for name, tensor in state.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            tensor = torch.cat(
                [state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            )
        for old, new in (
            ("vit.embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("vit.embeddings.position_embeddings", "pos_embed"),
            ("vit.embeddings.cls_token", "cls_token"),
            ("vit.layers", "blocks"),
            ("vit.layernorm.", "norm."),
            ("decoder.decoder_layers", "decoder_blocks"),
            ("decoder.", ""),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.q_proj", "attn.qkv"),
            ("attention.o_proj", "attn.proj"),
        ):
            name = name.replace(old, new)
        found[name] = tensor
    return found


@pytest.fixture(scope="module")
def release():
    """A small model as the original code would have trained it; its heads stand in no file."""
    return theirs(**SMALL | {"layer_norm_eps": 1e-6})


def write_release(file, model, **more):
    torch.save({"model": original(model)} | more, file)
    return file


def without_decoder(tensors):
    return {n: t for n, t in tensors.items() if not n.startswith(("decoder", "mask_token"))}


def test_the_original_release_is_read(release, tmp_path):
    arguments = argparse.Namespace(norm_pix_loss=False, model="mae")
    file = write_release(tmp_path / "release.pth", release, args=arguments, epoch=3)
    ours = load_pretrained(file, heads=3, decoder_heads=2)
    compare(release, ours, relative=1e-5, floor=1e-6)


def test_the_original_release_says_whether_its_targets_are_normalised(release, tmp_path):
    arguments = argparse.Namespace(norm_pix_loss=True)
    file = write_release(tmp_path / "release.pth", release, args=arguments)
    assert load_pretrained(file, heads=3, decoder_heads=2).config.normalise_target


def test_a_release_of_base_width_brings_its_heads(tmp_path):
    model = theirs(**BASE | {"layer_norm_eps": 1e-6, "num_hidden_layers": 1})
    ours = load_pretrained(write_release(tmp_path / "base.pth", model))
    compare(model, ours, relative=1e-5, floor=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"share a width of 24.*give load_pretrained\(\.\.\., heads=\.\.\.\)"),
        ({"heads": 3}, r"share a width of 16.*give load_pretrained\(\.\.\., decoder_heads="),
        ({"heads": 5, "decoder_heads": 2}, "heads: 5 heads cannot share a width of 24"),
        ({"heads": 0, "decoder_heads": 2}, "0 heads cannot share"),
        ({"heads": -3, "decoder_heads": 2}, "-3 heads cannot share"),
        ({"heads": True, "decoder_heads": 2}, "heads: Input should be a valid integer, got True"),
    ],
)
def test_heads_that_no_file_says_are_not_guessed(release, tmp_path, given, message):
    file = write_release(tmp_path / "release.pth", release)
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(file, **given)


def test_a_width_that_the_model_does_not_allow_is_refused_by_file(tmp_path):
    """Positions need sines and cosines for two axes: a multiple of 4."""
    theirs(**SMALL | {"hidden_size": 18, "intermediate_size": 18}).save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match=r"config\.json and .*dim: .*multiple of 4, got 18"):
        load_pretrained(tmp_path)


def test_heads_that_contradict_the_file_are_refused(tmp_path):
    theirs(**SMALL).save_pretrained(tmp_path)
    assert load_pretrained(tmp_path, heads=3, decoder_heads=2).config.heads == 3
    with pytest.raises(
        PretrainedError, match=r"^heads=6 was given, but num_attention_heads in .* is 3"
    ):
        load_pretrained(tmp_path, heads=6)
    with pytest.raises(PretrainedError, match=r"^decoder_heads=4 was given.*is 2: leave"):
        load_pretrained(tmp_path, decoder_heads=4)


def test_a_release_without_its_decoder_gives_features_and_says_so(release, tmp_path):
    file = tmp_path / "encoder.pth"
    torch.save({"model": without_decoder(original(release))}, file)
    with pytest.warns(UserWarning, match="no decoder"):
        ours = load_pretrained(file, heads=3)
    images, mask, noise = batch_for(ours)
    expected = release.vit(ours.space.standardise(images), noise=noise).last_hidden_state
    close(ours.encode(images, mask), expected, 1e-5, 1e-6, "features")
    assert ours.reconstruct(images, mask).shape == images.shape


def test_a_whole_model_loads_without_warning(tmp_path):
    theirs(**SMALL).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_pretrained(tmp_path)


def test_double_precision_comes_in_as_single(tmp_path):
    theirs(**SMALL).double().save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    assert {t.dtype for t in (*ours.parameters(), *ours.buffers())} == {torch.float32}
    images, mask, _ = batch_for(ours)
    assert ours(images, mask).isfinite().all()


@pytest.mark.parametrize("size", [24, (32, 16)])
def test_positions_are_interpolated_as_theirs(tmp_path, size):
    model = theirs(**SMALL)
    model.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path, image_size=size)
    height, width = (size, size) if isinstance(size, int) else size
    pixels = torch.rand(2, 3, height, width, generator=stream(0, "pixels"))
    noise = torch.arange(ours.grid[0] * ours.grid[1]).expand(2, -1).float()
    expected = model.vit(pixels, noise=noise, interpolate_pos_encoding=True)
    images = pixels * ours.space.std + ours.space.mean  # theirs takes standardised pixels
    close(
        ours.encode(images, expected.mask.bool()),
        expected.last_hidden_state,
        1e-5,
        1e-5,
        "features",
    )


def test_the_same_grid_keeps_its_positions():
    positions = sincos_positions((3, 4), 8)
    assert torch.equal(interpolate_positions(positions, (3, 4), (3, 4)), positions)
    assert interpolate_positions(positions, (3, 4), (6, 2)).shape == (12, 8)


def test_published_weights_expect_imagenets_pixels(both):
    ours = both[1]
    channels = ours.space.shape.channels
    expected = IMAGENET_MEAN if channels == 3 else [0.5]
    assert ours.space.mean.flatten().tolist() == pytest.approx(expected)


def test_pixels_that_are_not_normalised_stay_as_they_are(tmp_path):
    theirs(**SMALL).save_pretrained(tmp_path)
    said = {"do_normalize": False, "image_mean": list(IMAGENET_MEAN)}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    images = torch.rand(2, 3, 16, 16, generator=stream(0, "pixels"))
    assert torch.equal(load_pretrained(tmp_path).space.standardise(images), images)


def test_our_own_weights_load_by_name_and_predict():
    model = load_pretrained("imagenette-mae").eval()
    images = torch.full((1, 3, 64, 64), 0.25)
    images[:, 0] = 0.7  # one colour everywhere: the easiest picture to fill in
    mask = draw("random", batch=1, grid=model.grid, ratio=0.75, generator=stream(0, "mask"))
    assert (model.reconstruct(images, mask) - images).abs().mean() < 0.1


class Code:
    """An object whose pickle would run a command."""

    def __reduce__(self):
        return (exec, ("open('ran', 'w').write('code ran')",))


def test_a_file_that_holds_code_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"patch_embed.proj.weight": torch.zeros(2)}, "args": Code()}, "bad.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Code()))
    for file in ("bad.pth", "plain.pth"):
        with pytest.raises(PretrainedError, match="holds code and not only weights"):
            load_pretrained(tmp_path / file)
    assert not (tmp_path / "ran").exists()


def test_other_files_are_refused_by_name(tmp_path):
    with pytest.raises(PretrainedError, match="there is no file"):
        load_pretrained(tmp_path / "none.pth")
    with pytest.raises(
        PretrainedError, match=r"come with the code \(imagenette-mae\), and no hub id"
    ):
        load_pretrained(str(tmp_path / "nowhere"))
    with pytest.raises(PretrainedError, match="no folder '~nobody-of-this-name/model'"):
        load_pretrained("~nobody-of-this-name/model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PretrainedError, match=r"config\.json cannot be read: No such file"):
        load_pretrained(tmp_path / "empty")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PretrainedError, match=r"model_type in .*: Input should be 'vit_mae', got"):
        load_pretrained(tmp_path / "bert")


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_a_name_with_a_folder_behind_it_is_no_file(tmp_path, name):
    theirs(**SMALL).save_pretrained(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(PretrainedError, match=f"{name} cannot be read"):
        load_pretrained(tmp_path)


CONV = "patch_embed.proj.weight"
HELD = {
    "another model": {"model": {"conv1.weight": torch.zeros(2)}},
    "a list": [torch.zeros(2)],
    "one tensor": {"model": torch.zeros(2)},
    "a text among the weights": {"model": {CONV: "weights"}},
    "a number for a name": {"model": {CONV: torch.zeros(4, 3, 2, 2), 7: torch.zeros(2)}},
    "whole numbers": {"model": {CONV: torch.zeros(4, 3, 2, 2, dtype=torch.int64)}},
    "a sparse tensor": {"model": {CONV: torch.eye(4).to_sparse()}},
    "no axes": {"model": {CONV: torch.tensor(1.0)}},
    "no positions": {"model": {CONV: torch.zeros(4, 3, 2, 2)}},
    "no pixels": {
        CONV: torch.zeros(4, 3, 0, 0),
        "pos_embed": torch.zeros(1, 5, 4),
        "blocks.0.mlp.fc1.weight": torch.zeros(16, 4),
    },
}


@pytest.mark.parametrize("name", HELD)
def test_a_pth_of_something_else_is_refused(tmp_path, name):
    torch.save(HELD[name], tmp_path / "odd.pth")
    with pytest.raises(PretrainedError, match=r"odd\.pth|no ViT-MAE"):
        load_pretrained(tmp_path / "odd.pth", heads=1, decoder_heads=1)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    tensors = {CONV: torch.zeros(1).expand(10**6, 10**6)}  # one number, said to be a million rows
    torch.save(tensors, tmp_path / "claim.pth")
    with pytest.raises(PretrainedError, match=r"claim\.pth claim 4000000000000 bytes"):
        load_pretrained(tmp_path / "claim.pth")


def test_positions_that_form_no_square_need_a_size(release, tmp_path):
    tensors = original(release)
    for name in ("pos_embed", "decoder_pos_embed"):
        tensors[name] = tensors[name][:, :-2]
    torch.save({"model": tensors}, tmp_path / "oblong.pth")
    with pytest.raises(
        PretrainedError, match="make 3x3 patches, but the weights have positions for 14"
    ):
        load_pretrained(tmp_path / "oblong.pth", heads=3, decoder_heads=2)


def test_a_hub_id_without_network_says_how_to_place_the_files_by_hand(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        PretrainedError,
        match=r"place its config.json and model.safetensors in a folder by hand.*facebook/vit-mae-base",
    ):
        load_pretrained("facebook/vit-mae-base")


def with_file(folder, name, written, **options):
    """A folder of theirs with one file of another text."""
    theirs(**SMALL | options).save_pretrained(folder)
    (folder / name).write_text(written)
    return folder


def with_config(folder, changes):
    theirs(**SMALL).save_pretrained(folder)
    held = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(held))
    return folder


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden_act", "relu", "Input should be 'gelu', got 'relu'"),
        ("qkv_bias", False, "Input should be True, got False"),
        ("num_attention_heads", 5, "5 heads cannot share a width of 24"),
        ("num_attention_heads", 10**9, "1000000000 heads cannot share"),
        ("num_attention_heads", "3", "valid integer, got '3'"),
        ("num_attention_heads", "3" * 5000, "valid integer, got '333"),
        ("num_attention_heads", True, "valid integer, got True"),
        ("num_attention_heads", 3.0, "valid integer, got 3.0"),
        ("num_attention_heads", 0, "greater than or equal to 1, got 0"),
        ("num_attention_heads", None, "does not say how many heads"),
        ("decoder_num_attention_heads", [2], r"valid integer, got \[2\]"),
        ("layer_norm_eps", "1e-6", "valid number"),
        ("layer_norm_eps", True, "valid number"),
        ("layer_norm_eps", float("nan"), "finite number"),
        ("layer_norm_eps", 0, "greater than 0"),
        ("layer_norm_eps", 1e9, "less than or equal to 1"),
        ("norm_pix_loss", "no", "valid boolean"),
        ("norm_pix_loss", None, "valid boolean"),
        ("patch_size", 0, "greater than or equal to 1"),
        ("patch_size", -4, "greater than or equal to 1"),
        ("patch_size", 8, r"\(8, 8\), but the weights beside it have \(4, 4\)"),
        ("patch_size", [4, 4, 4], "got"),
        ("image_size", 32, "make 8x8 patches, but the weights have positions for 16"),
        ("image_size", 17, "do not tile images of 17x17"),
        ("image_size", -16, "greater than or equal to 1"),
        ("image_size", [16, "16"], "valid integer, got '16'"),
        ("image_size", 10**9, "positions for 16"),
        ("num_channels", 4, "4, but the weights beside it have 3"),
        ("hidden_size", 10**9, "1000000000, but the weights beside it have 24"),
        ("hidden_size", True, "valid integer"),
        ("num_hidden_layers", 3, "3, but the weights beside it have 2"),
        ("num_hidden_layers", 10**300, "10000.*, but the weights beside it have 2"),
        ("intermediate_size", 64, "64, but the weights beside it have 60"),
        ("decoder_hidden_size", 10**9, "but the weights beside it have 16"),
        ("decoder_num_hidden_layers", 1, "but the weights beside it have 2"),
        ("decoder_intermediate_size", 32, "but the weights beside it have 64"),
    ],
)
def test_a_config_of_odd_fields_is_refused_by_file_and_field(tmp_path, field, value, message):
    with_config(tmp_path, {field: value})
    with pytest.raises(PretrainedError, match=message) as error:
        load_pretrained(tmp_path)
    if value is not None or field == "norm_pix_loss":
        assert f"{field}" in str(error.value)
    assert str(tmp_path / "config.json") in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("field", ["model_type", "layer_norm_eps", "norm_pix_loss"])
def test_a_field_that_nothing_else_says_must_be_there(tmp_path, field):
    with_config(tmp_path, {})
    held = json.loads((tmp_path / "config.json").read_text())
    del held[field]
    (tmp_path / "config.json").write_text(json.dumps(held))
    with pytest.raises(PretrainedError, match=rf"{field} in .*config\.json: Field required"):
        load_pretrained(tmp_path)


NO_OBJECTS = [
    "[]",
    '"vit_mae"',
    "3",
    "null",
    "{",
    "",
    "[" * 100_000,
    "\x00",
    '{"a": 1' + "0" * 9999,
]


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("written", NO_OBJECTS, ids=lambda text: ascii(text[:9]))
def test_what_is_no_object_is_refused_by_file(tmp_path, name, written):
    with_file(tmp_path, name, written)
    with pytest.raises(PretrainedError, match=rf"{name}: (Input should be an object|Invalid JSON)"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ('{"image_mean": [0.5]}', r"image_mean in .*: \[0.5\], expected 3 finite"),
        ('{"image_mean": []}', r"image_mean in .*: \[\], expected 3 finite"),
        ('{"image_mean": [0.5, 1e300, 0.5]}', "image_mean in .*, expected 3 finite numbers"),
        ('{"image_mean": 0.5}', "image_mean in .*: Input should be a valid array, got 0.5"),
        ('{"image_std": [0.5, 0, 0.5]}', "image_std in .*, deviations above 0"),
        ('{"image_std": [0.5, 1e-60, 0.5]}', "image_std in .*, deviations above 0"),
        ('{"image_std": [0.5, -1, 0.5]}', "image_std in .*, deviations above 0"),
        ('{"image_std": [0.5, 1e300, 0.5]}', "image_std in .*, expected 3 finite numbers"),
        ('{"image_std": [0.5, NaN, 0.5]}', "image_std.1 in .*: Input should be a finite number"),
        ('{"image_mean": [0.5, Infinity, 0.5]}', "image_mean.1 in .* a finite number"),
        ('{"image_mean": ["dark", 0, 0]}', "image_mean.0 in .* a valid number, got 'dark'"),
        ('{"image_mean": [true, 0, 0]}', "image_mean.0 in .* a valid number, got True"),
        ('{"do_normalize": "yes"}', "do_normalize in .* a valid boolean, got 'yes'"),
    ],
)
def test_a_damaged_preprocessor_config_is_refused_by_file_and_field(tmp_path, written, message):
    with_file(tmp_path, "preprocessor_config.json", written)
    with pytest.raises(PretrainedError, match=message) as error:
        load_pretrained(tmp_path)
    assert str(tmp_path / "preprocessor_config.json") in str(error.value)


@pytest.mark.parametrize(
    ("size", "message"),
    [(65, "do not tile images of 65x65"), ((0, 16), "is no size"), (-16, "is no size")],
)
def test_a_size_that_the_patches_do_not_tile_is_refused(tmp_path, size, message):
    theirs(**SMALL).save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(tmp_path, image_size=size)


KEY = "vit.encoder.layer.0.attention.attention.key.weight"
POSITION = "vit.embeddings.position_embeddings"


def spoiled(tensors, change):
    """Tensors with some put in (None: taken out)."""
    return {name: tensor for name, tensor in (tensors | change).items() if tensor is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.decoder_norm.bias": None}, r"lack decoder.norm.bias \(16,\)"),
        ({"vit.layernorm.weight": torch.ones(7)}, r"encoder.norm.weight is \(7,\) in these weights and \(24,\) in the model"),
        ({"classifier.weight": torch.ones(2, 2)}, r"hold classifier.weight \(2, 2\)"),
        ({KEY: None}, r"query.weight, its key and its value have shapes \[\(24, 24\), \(0,\), \(24, 24\)\]"),
        ({KEY: torch.ones(24, 7)}, r"its key and its value have shapes"),
        ({"norm.weight": torch.ones(24)}, "hold encoder.norm.weight twice"),
        ({"vit.encoder.layer.999999999.layernorm_before.bias": torch.ones(24)}, "lack encoder.blocks.2."),
        ({"vit.encoder.layer.x.layernorm_before.bias": torch.ones(24)}, "hold encoder.blocks.x.norm1.bias"),
        ({POSITION: None}, "positions is missing in these weights"),
        ({POSITION: torch.zeros(17, 24)}, r"positions is of shape \(17, 24\) in these weights, expected 3 axes"),
        ({POSITION: torch.zeros(1, 17, 25)}, r"positions are \(1, 17, 25\) in these weights, expected \(1, 17, 24\)"),
        ({POSITION: torch.zeros(1, 18, 24)}, r"decoder_positions are \(1, 17, 16\) in these weights, expected \(1, 18, 16\)"),
        ({POSITION: torch.ones(1, 17, 24)}, r"positions of \[CLS\] are not zero"),
        ({"decoder.decoder_pos_embed": torch.zeros(1, 18, 16)}, "decoder_positions are"),
        ({"decoder.decoder_embed.weight": None}, "decoder_embedding.weight is missing"),
        ({"vit.layernorm.weight": torch.ones(24, dtype=torch.int8)}, "is no tensor of floats"),
    ],
)  # fmt: skip
def test_weights_of_another_architecture_name_the_first_tensor_and_both_shapes(
    tmp_path, change, message
):
    theirs(**SMALL).save_pretrained(tmp_path)
    held = json.loads((tmp_path / "config.json").read_text())
    if any("encoder.layer" in name for name in change):  # as many as the tensors show
        del held["num_hidden_layers"]
        (tmp_path / "config.json").write_text(json.dumps(held))
    tensors = load_file(tmp_path / "model.safetensors")
    save_file(spoiled(tensors, change), tmp_path / "model.safetensors")
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(tmp_path)


def test_a_claim_of_huge_widths_costs_no_memory(tmp_path):
    """A megabyte whose shapes ask for a model of terabytes."""
    width = 2**17
    tensors = {
        "patch_embed.proj.weight": torch.zeros(width, 1, 1, 1),
        "pos_embed": torch.zeros(1, 2, width),
        "blocks.0.mlp.fc1.weight": torch.zeros(1, 1),
    }
    torch.save(tensors, tmp_path / "huge.pth")
    with pytest.raises(PretrainedError, match="lack cls_token"):
        load_pretrained(tmp_path / "huge.pth", heads=1)
