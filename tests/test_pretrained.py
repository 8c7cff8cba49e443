"""The model is the published one: equal to an independent implementation in values and gradients, and readable both ways."""

import argparse
import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from lib.models import build
from lib.pixels import Shape
from lib.pretrained import IMAGENET, PretrainedError, interpolate_positions, load_pretrained, save_pretrained
from lib.streams import stream
from lib.transformer import sincos_positions

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
BASE = {"num_hidden_layers": 2, "decoder_num_hidden_layers": 2}  # else the library's own defaults: ViT-B/16 at 224
EIGHTH = {"patch_size": 2, "num_channels": 1, "image_size": 8}  # grey, and more tokens


def theirs(**options) -> ViTMAEForPreTraining:
    """A model of the transformers library whose every number is random, positions too (it draws some as zero)."""
    model = ViTMAEForPreTraining(ViTMAEConfig(**options))
    generator = stream(0, "theirs")
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.5 if "bias" in name else 2 / parameter.shape[-1] ** 0.5 / 2, generator=generator)
        if "pos" in name:
            parameter.data[:, 0] = 0
        if "norm" in name and name.endswith("weight"):
            parameter.data.add_(1)
    return model


@pytest.fixture(scope="module", params=[SMALL, SMALL | EIGHTH, SMALL | {"norm_pix_loss": True}], ids=["small", "grey", "normalised"])
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
    mask = ours.random_mask(count, generator)
    return images, mask, mask.float() + torch.arange(mask.shape[1]) / 1000


def compare(model, ours, relative, floor):
    images, mask, noise = batch_for(ours)
    images, noise = images.to(ours.cls_token.dtype), noise.to(ours.cls_token.dtype)
    model.zero_grad(), ours.zero_grad()
    expected = model(ours.space.standardise(images), noise=noise)
    assert torch.equal(expected.mask.bool(), mask)
    close(ours(images, mask), expected.logits, relative, floor, "prediction")
    close(ours.encode(images, mask), model.vit(ours.space.standardise(images), noise=noise).last_hidden_state, relative, floor, "features")
    loss = ours.loss(images, mask)
    close(loss, expected.loss, relative, floor, "loss")
    loss.backward(), expected.loss.backward()
    wanted = gradients_of(model)
    own = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert own.keys() == wanted.keys()
    for name, gradient in own.items():
        close(gradient, wanted[name], relative, floor, name)


def close(found, expected, relative, floor, name):
    distance = (found - expected).norm().item()
    assert distance <= relative * expected.norm().item() + floor, f"{name}: {distance} apart, norm {expected.norm().item()}"


def gradients_of(model) -> dict[str, torch.Tensor]:
    """Their gradients under our names: they are renamed and laid out as weights are."""
    from lib.weight_names import to_ours

    names = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.requires_grad}
    return {name: tensor for name, tensor in to_ours(names).items() if "positions" not in name}


def test_prediction_features_loss_and_every_gradient_are_theirs(both):
    compare(*both, relative=1e-5, floor=1e-6)


def test_in_double_precision_they_agree_to_nine_digits(both):
    model, ours = both
    compare(model.double(), ours.double(), relative=1e-9, floor=1e-11)
    model.float(), ours.float()


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
    config = {name: getattr(model.config, name) for name in (*SMALL, "norm_pix_loss", "layer_norm_eps", "num_channels")}
    assert {name: getattr(back.config, name) for name in config} == config


def test_what_we_save_we_load_bit_equal_with_its_pixel_statistics(tmp_path):
    model = build("mae", {"dim": 8, "depth": 1, "heads": 2, "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}, Shape(1, 8, 8, (4, 4)),
                  torch.tensor([0.4]), torch.tensor([0.3]), stream(3, "w"))  # fmt: skip
    save_pretrained(model, tmp_path)
    back = load_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), back.state_dict().values(), strict=True))
    assert torch.equal(back.positions, model.positions) and back.config.eps == model.config.eps


def test_the_published_names_are_read(tmp_path):
    """As on the hub: with `decoder_layers`, where today's transformers writes `decoder_encoder.layer`."""
    model = theirs(**SMALL)
    model.save_pretrained(tmp_path / "new")
    ours = load_pretrained(tmp_path / "new")
    save_pretrained(ours, tmp_path / "published")
    names = load_file(tmp_path / "published" / "model.safetensors").keys()
    assert "decoder.decoder_layers.0.attention.attention.query.weight" in names
    again = load_pretrained(tmp_path / "published")
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), again.state_dict().values(), strict=True))


def original(model) -> dict[str, torch.Tensor]:
    """Weights of theirs in the layout of the original release: joined queries, keys and values, other names."""
    found, state = {}, model.state_dict()
    for name, tensor in state.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            tensor = torch.cat([state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
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
    """A model with the heads that the original release has for its width."""
    options = {"hidden_size": 64, "num_attention_heads": 1, "decoder_hidden_size": 64, "decoder_num_attention_heads": 16}
    return theirs(**SMALL | options | {"intermediate_size": 128, "layer_norm_eps": 1e-6})


def test_the_original_release_is_read(release, tmp_path):
    file = tmp_path / "release.pth"
    torch.save({"model": original(release), "args": argparse.Namespace(norm_pix_loss=False, model="mae"), "epoch": 3}, file)
    compare(release, load_pretrained(file), relative=1e-5, floor=1e-6)


def test_a_release_without_its_decoder_gives_features_and_says_so(release, tmp_path):
    file = tmp_path / "encoder.pth"
    torch.save({"model": {n: t for n, t in original(release).items() if not n.startswith(("decoder", "mask"))}}, file)
    with pytest.warns(UserWarning, match="no decoder"):
        ours = load_pretrained(file)
    images, mask, noise = batch_for(ours)
    expected = release.vit(ours.space.standardise(images), noise=noise).last_hidden_state
    close(ours.encode(images, mask), expected, 1e-5, 1e-6, "features")


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
    close(ours.encode(images, expected.mask.bool()), expected.last_hidden_state, 1e-5, 1e-5, "features")


def test_the_same_grid_keeps_its_positions():
    positions = sincos_positions((3, 4), 8)
    assert torch.equal(interpolate_positions(positions, (3, 4), (3, 4)), positions)
    assert interpolate_positions(positions, (3, 4), (6, 2)).shape == (12, 8)


def test_published_weights_expect_imagenets_pixels(both):
    ours = both[1]
    channels = ours.space.shape.channels
    assert ours.space.mean.flatten().tolist() == pytest.approx(IMAGENET[0] if channels == 3 else [0.5])


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
            load_pretrained(file)
    assert not (tmp_path / "ran").exists()


def test_other_files_are_refused_by_name(tmp_path):
    torch.save({"model": {"conv1.weight": torch.zeros(2)}}, tmp_path / "resnet.pth")
    with pytest.raises(PretrainedError, match="does not hold the weights of an original MAE release"):
        load_pretrained(tmp_path / "resnet.pth")
    with pytest.raises(PretrainedError, match="there is no file"):
        load_pretrained(tmp_path / "none.pth")
    with pytest.raises(PretrainedError, match="no hub id"):
        load_pretrained(str(tmp_path / "nowhere"))
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    save_file({"x": torch.zeros(1)}, tmp_path / "bert" / "model.safetensors")
    with pytest.raises(PretrainedError, match="of type 'bert', expected 'vit_mae'"):
        load_pretrained(tmp_path / "bert")


def test_a_hub_id_without_network_says_how_to_place_the_files_by_hand(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PretrainedError, match=r"place its config.json and model.safetensors in a folder by hand.*facebook/vit-mae-base"):
        load_pretrained("facebook/vit-mae-base")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hidden_layers": 3}, None),  # the tensors decide, so this is no contradiction
        ({"hidden_act": "relu"}, "hidden_act='relu'"),
        ({"num_attention_heads": 5}, "shared by 5 heads"),
    ],
)
def test_a_config_that_contradicts_is_refused(tmp_path, changes, message):
    theirs(**SMALL).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    if message is None:
        assert load_pretrained(tmp_path).config.depth == 2
        return
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{", "preprocessor_config.json is not readable as JSON"),
        ("[1]", "preprocessor_config.json is not readable as JSON"),
        ('{"image_mean": [0.5]}', r"image_mean \[0.5\] .* expected 3 each"),
        ('{"image_std": [0.5, 0, 0.5]}', "deviations above 0"),
        ('{"image_mean": ["dark", 0, 0]}', "no lists of numbers"),
    ],
)
def test_a_damaged_preprocessor_config_is_refused_by_name(tmp_path, written, message):
    theirs(**SMALL, num_channels=3).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(written)
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(tmp_path)


def test_a_size_that_the_patches_do_not_tile_is_refused(tmp_path):
    theirs(**SMALL).save_pretrained(tmp_path)
    with pytest.raises(PretrainedError, match="do not tile images of 65x65"):
        load_pretrained(tmp_path, image_size=65)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop("decoder.decoder_norm.bias"), r"lack decoder.norm.bias \(16,\)"),
        (lambda t: t.update({"vit.layernorm.weight": torch.ones(7)}), r"encoder.norm.weight is \(7,\) in these weights and \(24,\) in the model"),
        (lambda t: t.update({"classifier.weight": torch.ones(2, 2)}), r"hold classifier.weight \(2, 2\)"),
    ],
)  # fmt: skip
def test_weights_of_another_architecture_name_the_first_tensor_and_both_shapes(tmp_path, spoil, message):
    theirs(**SMALL).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    spoil(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(PretrainedError, match=message):
        load_pretrained(tmp_path)
