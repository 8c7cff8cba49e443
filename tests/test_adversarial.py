"""Three players, each of whom moves its own parameters and wants what it should."""

import pytest
import torch
from pydantic import ValidationError

from lib.models.adversarial import AdversarialConfig, sample_prior
from lib.models.family import Batch, build
from lib.pixels import Shape
from lib.streams import stream

SHAPE = Shape(1, 4, 4, (2, 2))
PHASES = {
    "loss": {"encoder", "decoder"},
    "discriminator": {"discriminator"},
    "generator": {"encoder"},
}


def made():
    options = {"hidden": (8,), "discriminator": (8,), "latent": 2}
    mean, std = torch.tensor([0.5]), torch.tensor([0.2])
    return build("adversarial", options, SHAPE, mean, std, stream(0, "w"))


def batch(**changes):
    images = torch.rand(6, 1, 4, 4, generator=stream(0, "images"))
    mask = torch.tensor([[True, False, True, False]] * 6)
    given = {"images": images, "mask": mask, "whole": 6, "seed": 3, "step": 7}
    return Batch(**given | changes)


def players(model, moved):
    """The parts of a model of which some parameter is among those given."""
    return {
        name.split(".")[0]
        for name, parameter in model.named_parameters()
        if any(parameter is one for one in moved)
    }


def test_each_phase_moves_only_its_own_parameters():
    model = made()
    groups = model.groups()
    assert {name: players(model, group.parameters) for name, group in groups.items()} == PHASES
    assert all(player.decay == 0 for name, player in groups.items() if name != "loss")


def test_the_phases_are_those_of_the_groups_in_their_order():
    model = made()
    assert [name for name, _ in model.phases(batch())] == list(model.groups()) == list(PHASES)


def test_each_loss_reaches_the_parameters_that_it_moves_and_the_discriminators_no_encoder():
    model = made()
    for name, loss in model.phases(batch()):
        model.zero_grad()
        loss.backward()
        reached = [p for p in model.parameters() if p.grad is not None and p.grad.any()]
        assert PHASES[name] <= players(model, reached)
        if name == "discriminator":
            assert players(model, reached) == {"discriminator"}, "codes are constants there"


def test_a_loss_is_computed_after_the_update_before_it():
    """The generator meets the discriminator as it is by then."""
    model, moved = made(), made()
    _, before = list(model.phases(batch()))[2]
    phases = moved.phases(batch())
    next(phases)
    next(phases)
    with torch.no_grad():
        for parameter in moved.discriminator.parameters():
            parameter.zero_()
    _, after = next(phases)
    assert after.item() == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-5)
    assert after.item() != pytest.approx(before.item(), rel=1e-3)


def test_the_codes_of_both_players_are_those_of_the_encoder_that_reconstruction_has_moved():
    model, given = made(), batch()
    phases = model.phases(given)
    next(phases)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.mul_(3)
        code = model.encode(given.images, given.mask)
        real = given.noise(model.prior)
    (_, told), (_, wanted) = phases
    assert torch.equal(told, model.discriminator_loss(code, real))
    assert torch.equal(wanted, model.generator_loss(code))


def test_samples_of_the_prior_are_the_steps_and_the_same_for_every_part():
    model = made()
    real = model.prior(6, batch().generator("noise"))
    losses = []
    for part in batch().split(2):
        rows = real[part.first : part.first + len(part)]
        expected = model.discriminator_loss(model.encode(part.images, part.mask), rows)
        _, found = list(model.phases(part))[1]
        assert torch.equal(found, expected)
        losses.append(found)
    _, whole = list(model.phases(batch()))[1]
    assert torch.stack(losses).mean().item() == pytest.approx(whole.item(), rel=1e-5)
    _, later = list(model.phases(batch(step=8)))[1]
    assert not torch.equal(later, whole)


def test_the_discriminator_calls_the_prior_real_and_codes_fake():
    """One that is certain of 'real' everywhere errs on codes alone: half of 20, as a mean."""
    model, given = made(), batch()
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            parameter.zero_()
        model.discriminator[-1].bias.fill_(20.0)
        real = model.prior(6, stream(0, "n"))
        code = model.encode(given.images, given.mask)
        wanted = model.generator_loss(code)
        told = model.discriminator_loss(code, real)
    assert wanted < 1e-6, "codes taken for the prior are what the encoder wants"
    assert told.item() == pytest.approx(10, abs=1e-3)


def test_a_discriminator_learns_to_tell_codes_far_from_the_prior():
    model, given = made(), batch()
    model.encoder[1][-1].bias.data.fill_(30.0)
    optimiser = torch.optim.Adam(model.discriminator.parameters(), 0.05)
    for _ in range(100):
        optimiser.zero_grad()
        real = model.prior(6, stream(0, "n"))
        code = model.encode(given.images, given.mask)
        model.discriminator_loss(code, real).backward()
        optimiser.step()
    with torch.no_grad():
        real = model.discriminator(model.prior(500, stream(0, "p")))
        fake = model.discriminator(model.encode(given.images, given.mask))
    assert real.median() > 0 > fake.median()


def test_there_is_no_batch_norm():
    assert not any("BatchNorm" in type(module).__name__ for module in made().modules())


def test_the_gaussian_prior_is_standard():
    drawn = sample_prior("gaussian", 20_000, 3, stream(0, "p"))
    assert drawn.mean(dim=0).abs().max() < 0.05 and (drawn.std(dim=0) - 1).abs().max() < 0.05


def test_the_mixture_has_ten_arms():
    drawn = sample_prior("mixture", 5000, 2, stream(0, "p"))
    angle = torch.rad2deg(torch.atan2(drawn[:, 1], drawn[:, 0])) % 36
    apart = torch.minimum(angle, 36 - angle)
    assert (apart < 12).float().mean() > 0.97
    arm = (torch.rad2deg(torch.atan2(drawn[:, 1], drawn[:, 0])) / 36).round() % 10
    assert arm.unique(return_counts=True)[1].min() > 400


def test_the_swiss_roll_lies_in_its_disc_and_reaches_its_middle():
    radius = sample_prior("swiss_roll", 5000, 2, stream(0, "p")).norm(dim=1)
    assert radius.max() < 2.5 and radius.min() < 0.3


@pytest.mark.parametrize("prior", ["mixture", "swiss_roll"])
def test_plane_priors_refuse_other_code_sizes(prior):
    with pytest.raises(ValidationError, match="needs latent=2"):
        AdversarialConfig(prior=prior, latent=3)
