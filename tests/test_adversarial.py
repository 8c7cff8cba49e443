import pytest
import torch

from lib.models import build
from lib.models.adversarial import AdversarialStep, sample_prior
from lib.optim import StepSettings
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 4, 4, (2, 2))


def model_and_batch():
    options = {"hidden": (8,), "discriminator": (8,), "latent": 2}
    model = build("adversarial", options, SHAPE, torch.tensor([0.5]), torch.tensor([0.2]), stream(0, "w"))
    images = torch.rand(6, 1, 4, 4, generator=stream(0, "images"))
    return model, images, torch.tensor([[True, False, True, False]] * 6)


@pytest.mark.parametrize(
    ("phase", "moved"),
    [("reconstruction", {"encoder", "decoder"}), ("discriminator", {"discriminator"}), ("generator", {"encoder"})],
)
def test_each_phase_moves_only_its_own_parameters(phase, moved):
    model, images, mask = model_and_batch()
    step = AdversarialStep(model, StepSettings(1e-2, 0.0))
    before = {name: value.clone() for name, value in model.named_parameters()}
    loss = getattr(model, f"{phase}_loss")(images, mask, model.prior(len(images), stream(0, "noise")))
    step.updates[phase]([(loss, 1.0)])
    changed = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == moved


def test_the_discriminator_calls_the_prior_real_and_codes_fake():
    """A discriminator that is certain of 'real' everywhere errs on codes; one certain of 'fake' errs on the prior."""
    model, images, mask = model_and_batch()
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            parameter.zero_()
        last = model.discriminator[-1]
        last.bias.fill_(20.0)
        assert model.generator_loss(images, mask, model.prior(6, stream(0, "n"))) < 1e-6, (
            "codes taken for the prior are what the encoder wants"
        )
        assert model.discriminator_loss(images, mask, model.prior(6, stream(0, "n"))).item() == pytest.approx(10, abs=1e-3)
        last.weight.zero_()
    real = model.prior(500, stream(0, "p"))
    codes = model.encode(images, mask)
    optimizer = torch.optim.Adam(model.discriminator.parameters(), 0.05)
    torch.nn.init.normal_(model.discriminator[0].weight, generator=stream(0, "d"))
    torch.nn.init.normal_(last.weight, generator=stream(1, "d"))
    model.encoder[1][-1].bias.data.fill_(30.0)  # codes far from the prior
    for _ in range(100):
        optimizer.zero_grad()
        model.discriminator_loss(images, mask, model.prior(6, stream(0, "n"))).backward()
        optimizer.step()
    with torch.no_grad():
        assert model.discriminator(real).median() > 0 > model.discriminator(model.encode(images, mask)).median()
    assert codes.shape == (6, 2)


def test_there_is_no_batch_norm():
    model, _, _ = model_and_batch()
    assert not any("BatchNorm" in type(module).__name__ for module in model.modules())


def test_priors_have_their_shapes():
    gaussian = sample_prior("gaussian", 20_000, 3, stream(0, "p"))
    assert gaussian.mean(dim=0).abs().max() < 0.05 and (gaussian.std(dim=0) - 1).abs().max() < 0.05
    mixture = sample_prior("mixture", 5000, 2, stream(0, "p"))
    angle = torch.rad2deg(torch.atan2(mixture[:, 1], mixture[:, 0])) % 36
    assert (torch.minimum(angle, 36 - angle) < 12).float().mean() > 0.97, "ten arms, 36 degrees apart"
    radius = sample_prior("swiss_roll", 5000, 2, stream(0, "p")).norm(dim=1)
    assert radius.max() < 2.5 and radius.min() < 0.3


def test_plane_priors_refuse_other_code_sizes():
    with pytest.raises(ValueError, match="needs latent=2"):
        build("adversarial", {"prior": "swiss_roll", "latent": 3}, SHAPE, torch.zeros(1), torch.ones(1), stream(0, "w"))


def test_samples_are_images():
    model, _, _ = model_and_batch()
    drawn = model.sample(7, stream(0, "s"))
    assert drawn.shape == (7, 1, 4, 4) and drawn.min() >= 0 and drawn.max() <= 1
