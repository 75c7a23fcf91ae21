from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from atlas.config import PreprocessConfig
from atlas.errors import ModelError
from atlas.models import load_model, load_network
from atlas.models.checkpoints import hash_weights
from atlas.models.factories import draw_zero_head

IMAGENET = PreprocessConfig(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SMALL = PreprocessConfig(resize=16, crop=16, mean=(0.5,), std=(0.25,))


def small_vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    return VisionTransformer(image_size=8, patch_size=4, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = torch.rand(1)
    torch.manual_seed(1)
    small = SMALL.model_copy(update={"crop": 64, "resize": 64})
    with pytest.warns(UserWarning, match="has no weights: its parameters are random"):
        a = load_model("torchvision:squeezenet1_1", preprocess=small, classes=["x", "y"])
    assert torch.equal(torch.rand(1), first)
    b = load_model("torchvision:squeezenet1_1", weights="random", preprocess=small, classes=["x", "y"])
    assert a.network.classifier[1].out_channels == 2
    assert a.weights_hash == b.weights_hash
    assert load_network("torchvision:squeezenet1_1", weights="random").classifier[1].out_channels == 1000


def test_a_head_of_zeros_is_drawn_for_a_random_network() -> None:
    vit = small_vit()
    assert not vit.heads.head.weight.any()
    draw_zero_head(vit)
    assert vit.heads.head.weight.std() > 0.01
    trained = nn.Sequential(nn.Linear(4, 4))
    before = trained[0].weight.clone()
    draw_zero_head(trained)
    assert torch.equal(trained[0].weight, before)


def test_unknown_weights_are_explained() -> None:
    with pytest.raises(
        ModelError, match=r"no weights 'IMAGENET1K_V3'; did you mean .*\(known: IMAGENET1K_V1, .*DEFAULT"
    ):
        load_model("torchvision:resnet50", weights="IMAGENET1K_V3")
    with pytest.raises(ModelError, match=r"has no weights 'ResNet18_Weights.IMAGENET1K_V1'"):
        load_model("torchvision:resnet50", weights="ResNet18_Weights.IMAGENET1K_V1")


def test_named_weights_bring_preprocessing_and_class_names(tmp_path, monkeypatch) -> None:
    from torchvision import models

    state = models.squeezenet1_1().state_dict()
    monkeypatch.setattr(models.SqueezeNet1_1_Weights, "get_state_dict", lambda self, *args, **kwargs: state)
    for weights in ("DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1"):
        model = load_model("torchvision:squeezenet1_1", weights=weights)
        assert model.preprocess.input_shape == (3, 224, 224)
        assert model.outputs[:2] == ("tench", "goldfish")
        assert len(model.outputs) == 1000
    with pytest.raises(ModelError, match="but 3 class names were given"):
        load_model("torchvision:squeezenet1_1", weights="DEFAULT", classes=["a", "b", "c"])


def test_weights_that_cannot_be_downloaded_are_explained(monkeypatch) -> None:
    from urllib.error import URLError

    from torchvision import models

    def offline(self, *args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(models.SqueezeNet1_1_Weights, "get_state_dict", offline)
    with pytest.raises(ModelError, match=r"could not be downloaded.*give a checkpoint file"):
        load_model("torchvision:squeezenet1_1", weights="DEFAULT")


def test_timm_networks_and_their_own_sentences(tmp_path, monkeypatch) -> None:
    timm = pytest.importorskip("timm")
    network = load_network("timm:resnet10t", weights="random", classes=["a", "b"])
    torch.save(network.state_dict(), tmp_path / "w.pt")
    small = SMALL.model_copy(update={"crop": 64, "resize": 64})
    model = load_model("timm:resnet10t", checkpoint=tmp_path / "w.pt", classes=["a", "b"], preprocess=small)
    assert model.weights_hash == hash_weights(network)
    encoder = load_model("timm:resnet10t", weights="random", preprocess=IMAGENET)
    assert not encoder.is_classifier
    with pytest.raises(ModelError, match=r"published weights use resize = 201, crop = 176"):
        load_model("timm:resnet10t", checkpoint=tmp_path / "w.pt", classes=["a", "b"])
    with pytest.raises(ModelError, match="timm has no model 'resnet10x'; did you mean"):
        load_model("timm:resnet10x", preprocess=small)
    with pytest.raises(ModelError, match=r"has no weights 'c4_in1k'; did you mean 'c3_in1k'\? \(known: c3_in1k\)"):
        load_model("timm:resnet10t", weights="c4_in1k")
    made: list[tuple[str, bool]] = []
    create = timm.create_model

    def recorded(name, pretrained=False, **options):
        made.append((name, pretrained))
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", recorded)
    for name, weights in [
        ("timm:resnet10t.c3_in1k", None),
        ("timm:resnet10t", "c3_in1k"),
        ("timm:resnet10t", "DEFAULT"),
    ]:
        model = load_model(name, weights=weights)
        assert made.pop()[1]
        assert model.preprocess.input_shape == (3, 176, 176)
        assert len(model.outputs) == 1000
        assert "tench" in model.outputs[0]
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"needs timm, which is not installed: pip install 'activation-atlas\[timm\]'"):
        load_model("timm:resnet10t", preprocess=small)
