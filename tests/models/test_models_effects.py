from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from atlas.errors import LayerError, ModelError
from atlas.models import EffectTracer, Model, Preprocess, effect_caveat, effects, layer_shapes
from atlas.models.capture import Watch
from atlas.records import LayerShape

CLASSES = 4


def randomised(network: nn.Module) -> nn.Module:
    """Heads of zeros and layer scales of 1e-6 would pass any oracle: draw every parameter."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.named_parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 1
        drawn = torch.randn(parameter.shape, generator=generator) * (fan**-0.5 if parameter.ndim > 1 else 0.2)
        parameter.data = drawn + (1 if "norm" in name or "bn" in name or "layer_scale" in name else 0)
    return network


def model_of(network: nn.Module, size: int, dtype: torch.dtype = torch.float32, classes: int = CLASSES) -> Model:
    network = randomised(network).eval().requires_grad_(False).to(dtype)
    names = tuple(str(index) for index in range(classes))
    return Model(network, "test", Preprocess((0.5,), (0.25,), crop=(size, size)), names, "")


class Tiny(nn.Module):
    """A reused in-place ReLU, a shortcut, and a branch that never reaches the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.aside = nn.Conv2d(6, 2, 1)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        x = self.relu(self.conv1(x))
        self.aside(x)
        x = self.relu(self.conv2(x) + x)
        return self.head(x.mean((2, 3)))


class Refusing(torch.autograd.Function):
    """An operation without forward mode."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0].cos()


class Odd(Tiny):
    def forward(self, x):
        return self.head(self.relu(self.conv2(Refusing.apply(self.relu(self.conv1(x))))).mean((2, 3)))


# Layers before a LayerNorm are left out: there the effect is zero but for rounding, see below.
NETWORKS = {
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=CLASSES), 48, ["features.7", "features.10"]),
    "resnet18": (lambda: models.resnet18(num_classes=CLASSES), 32, ["layer2", "layer3.0.relu#1", "layer3.1.conv1"]),
    "swin": (
        lambda: models.SwinTransformer([4, 4], 24, [2, 1], [2, 2], [7, 7], num_classes=CLASSES), 48,
        ["features.1.1", "features.1.1.mlp.1", "features.1.1.stochastic_depth"],
    ),
    "vit": (
        lambda: models.VisionTransformer(
            image_size=48, patch_size=16, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES
        ), 48,
        ["encoder.dropout", "encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_1.self_attention"],
    ),
    "convnext": (
        lambda: models.ConvNeXt([CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 1)], num_classes=CLASSES), 48,
        ["features.1.0", "features.1.0.block.3", "features.3.0.block.5"],
    ),
    "tiny": (Tiny, 12, ["relu", "relu#1", "conv2"]),
    "odd": (Odd, 12, ["conv1", "conv2"]),
}  # fmt: skip


def oracle(model, batch, layer, shape, where, tap) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of every class alone, times the activation, summed over channels position by position."""
    held: list[torch.Tensor] = []

    def see(_, h):
        held.append(h.detach().clone().requires_grad_())
        return held[0].clone()

    with torch.enable_grad(), Watch(model.network, [layer], see, tap=tap):
        logits = model.network(batch)
    h = held[0]
    found = torch.zeros(len(batch), 1 if where is None else where.shape[1], logits.shape[1], dtype=h.dtype)
    for k in range(logits.shape[1]):
        (slope,) = torch.autograd.grad(logits[:, k].sum(), h, retain_graph=True)
        product = (slope * h).detach()
        for n in range(len(batch)):
            if where is None:
                found[n, 0, k] = product[n].sum()
                continue
            for e, index in enumerate(where[n].tolist()):
                y, x = divmod(index, shape.width)
                if shape.kind == "map":
                    found[n, e, k] = product[n, :, y, x].sum()
                elif shape.kind == "map_last":
                    found[n, e, k] = product[n, y, x].sum()
                elif shape.kind == "tokens":
                    found[n, e, k] = product[n, shape.prefix + index].sum()
                else:
                    found[n, e, k] = product[n].sum()
    return found, logits.detach()


def some_positions(shape: LayerShape, rows: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(-shape.prefix, shape.height * shape.width, (rows, count), generator=generator)


def pictures(size: int, dtype=torch.float32, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tap", ["output", "input"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_effects_are_the_gradients_of_every_class(name, tap, dtype) -> None:
    make, size, layers = NETWORKS[name]
    model = model_of(make(), size)
    shapes = layer_shapes(model, layers, tap=tap)
    model = Model(model.network.to(dtype), model.name, model.preprocess, model.outputs, "")
    batch = pictures(size, dtype, 2)
    wanted = {layer: None if i == 1 else some_positions(shapes[layer], 2, 2) for i, layer in enumerate(layers)}
    tracer = EffectTracer(model, shapes, tap=tap)
    first, second = tracer(batch, wanted), tracer(batch, wanted)  # the second time by the way it remembers
    for layer in layers:
        truth, logits = oracle(model, batch, layer, shapes[layer], wanted[layer], tap)
        assert truth.abs().max() > 1e-5, "this oracle would test nothing"
        for found in (first, second):
            assert found.effects[layer].dtype == torch.float32
            error = (found.effects[layer] - truth).abs().max() / truth.abs().max()
            assert error < (5e-5 if dtype == torch.float32 else 1e-6), (layer, error)
            assert torch.allclose(found.logits, logits.float(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "size"),
    [
        ("squeezenet1_0", "features.10", 64), ("swin_t", "features.5.3", 64), ("convnext_tiny", "features.5.3", 64),
        ("vit_b_16", "encoder.layers.encoder_layer_9", 96),
    ],
)  # fmt: skip
def test_effects_of_the_published_architectures(name, layer, size) -> None:
    options = {"image_size": size} if name.startswith("vit") else {}
    model = model_of(models.get_model(name, weights=None, num_classes=CLASSES, **options), size)
    shapes = layer_shapes(model, [layer])
    batch, where = pictures(size, count=2), some_positions(shapes[layer], 2, 2)
    found = effects(model, batch, layer, shapes[layer], where)
    truth, _ = oracle(model, batch, layer, shapes[layer], where, "output")
    assert truth.abs().max() > 1e-5
    assert (found - truth).abs().max() < 1e-4 * truth.abs().max()


def test_layers_in_a_row_need_one_pass() -> None:
    model = model_of(Tiny(), 12)
    passes: list[int] = []
    model.network.conv1.register_forward_hook(lambda *_: passes.append(1))
    shapes = layer_shapes(model, ["relu", "relu#1"])
    tracer = EffectTracer(model, {"relu#1": shapes["relu#1"]})
    passes.clear()
    tracer(pictures(12), {"relu#1": some_positions(shapes["relu#1"], 3, 4)})
    assert len(passes) == 1
    tracer(pictures(12), {"relu#1": some_positions(shapes["relu#1"], 3, 2)})
    assert len(passes) == 2
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(True), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(256, CLASSES)
    )
    model = model_of(network, 12)
    model.network[0].register_forward_hook(lambda *_: passes.append(1))
    shapes = layer_shapes(model, ["1", "2"])
    passes.clear()
    EffectTracer(model, shapes)(pictures(12), {layer: some_positions(shapes[layer], 3, 2) for layer in shapes})
    assert len(passes) == 1


def test_many_positions_take_further_passes_or_reverse_mode() -> None:
    model = model_of(Tiny(), 12, classes=CLASSES)
    shape = layer_shapes(model, ["relu#1"])["relu#1"]
    where = some_positions(shape, 3, CLASSES + 1)
    truth, _ = oracle(model, pictures(12), "relu#1", shape, where, "output")
    assert torch.allclose(effects(model, pictures(12), "relu#1", shape, where), truth, atol=1e-5)

    class Wide(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(6, 30)

    model = model_of(Wide(), 12, classes=30)
    where = some_positions(shape, 3, 19)
    truth, _ = oracle(model, pictures(12), "relu#1", shape, where, "output")
    assert torch.allclose(effects(model, pictures(12), "relu#1", shape, where), truth, atol=1e-5)


def test_one_picture_alone_is_not_mixed_with_its_copies() -> None:
    """A batch of one would broadcast over a shortcut: the tangents of two layers would add up."""
    model = model_of(Tiny(), 12)
    shapes = layer_shapes(model, ["relu", "conv2"])
    wanted = {layer: some_positions(shapes[layer], 1, 1) for layer in shapes}
    passed = EffectTracer(model, shapes)(pictures(12, count=1), wanted)
    for layer, shape in shapes.items():
        truth, _ = oracle(model, pictures(12, count=1), layer, shape, wanted[layer], "output")
        assert torch.allclose(passed.effects[layer], truth, atol=1e-5)


def test_one_pass_also_gives_what_capture_gives() -> None:
    model = model_of(Tiny(), 12)
    shapes = layer_shapes(model, ["conv1", "relu", "relu#1"])
    batch = pictures(12)
    plain = EffectTracer(model, shapes)(batch, {})
    full = EffectTracer(model, shapes)(
        batch, {layer: some_positions(shapes[layer], 3, 2) for layer in ("relu", "relu#1")}
    )
    pooled = EffectTracer(model, shapes, keep=lambda _, h: h.mean((2, 3)))(batch, {"relu": None})
    assert plain.effects == {}
    assert list(full.effects) == ["relu", "relu#1"]
    assert (plain.seen["conv1"] < 0).any(), "changed in place"
    for layer in shapes:
        assert torch.allclose(full.seen[layer], plain.seen[layer], atol=1e-6)
        assert torch.allclose(pooled.seen[layer], plain.seen[layer].mean((2, 3)), atol=1e-6)
    assert torch.allclose(full.logits, plain.logits, atol=1e-6)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_effects_work_in_every_mode(mode) -> None:
    model = model_of(Tiny(), 12)
    shape = layer_shapes(model, ["relu"])["relu"]
    where = some_positions(shape, 3, 1)
    truth, _ = oracle(model, pictures(12), "relu", shape, where, "output")
    with mode():
        batch = pictures(12) * 1.0
        found = effects(model, batch, "relu", shape, where)
    assert torch.allclose(found, truth, atol=1e-5)
    assert not found.requires_grad


def test_patch_tokens_of_the_last_block_have_no_effect_and_are_told_of() -> None:
    make, size, _ = NETWORKS["vit"]
    model = model_of(make(), size)
    layer = "encoder.layers.encoder_layer_2"
    shape = layer_shapes(model, [layer])[layer]
    patch = effects(model, pictures(size), layer, shape, torch.zeros(3, 1, dtype=torch.int64))
    cls = effects(model, pictures(size), layer, shape, torch.full((3, 1), -1))
    assert patch.abs().max() == 0
    assert cls.abs().max() > 0
    logits = model.network(pictures(size))
    assert "reads the CLS token alone" in str(effect_caveat(layer, shape, patch, logits))
    # The CLS token comes before the last LayerNorm, which ignores its length.
    assert "ignores an activation's length" in str(effect_caveat(layer, shape, cls, logits))
    # The block before: its patch tokens reach CLS only through a LayerNorm.
    before = "encoder.layers.encoder_layer_1"
    values = effects(model, pictures(size), before, shape, torch.zeros(3, 1, dtype=torch.int64))
    assert "ignores an activation's length" in str(effect_caveat(before, shape, values, logits))
    earlier = "encoder.layers.encoder_layer_0"
    values = effects(model, pictures(size), earlier, shape, torch.zeros(3, 1, dtype=torch.int64))
    assert effect_caveat(earlier, shape, values, logits) is None


def test_a_layer_before_a_layer_norm_is_told_of() -> None:
    make, size, _ = NETWORKS["convnext"]
    model = model_of(make(), size)
    shape = layer_shapes(model, ["features.1"])["features.1"]
    batch, where = pictures(size), some_positions(LayerShape("map", 16, 12, 12), 3, 1)
    values = effects(model, batch, "features.1", shape, where)
    assert values.abs().max() > 0
    assert "ignores an activation's length" in str(effect_caveat("features.1", shape, values, model.network(batch)))


def test_wrong_requests_are_explained() -> None:
    model = model_of(Tiny(), 12)
    shapes = layer_shapes(model, ["aside", "relu"])
    tracer = EffectTracer(model, shapes)
    with pytest.raises(LayerError, match="the logits do not depend on layer 'aside'"):
        tracer(pictures(12), {"aside": None})
    encoder = Model(model.network, "test", model.preprocess, (), "")
    with pytest.raises(ModelError, match="has no class names, so there are no effects"):
        EffectTracer(encoder, shapes)(pictures(12), {"relu": None})
    assert EffectTracer(encoder, shapes)(pictures(12), {}).logits is None
    with pytest.raises(ValueError, match="lie outside its grid of 12 x 12"):
        tracer(pictures(12), {"relu": torch.full((3, 1), 144)})
    with pytest.raises(ValueError, match=r"have shape \(2, 1\), expected \(3, e\)"):
        tracer(pictures(12), {"relu": torch.zeros(2, 1, dtype=torch.int64)})


def test_nothing_is_left_behind() -> None:
    model = model_of(Tiny(), 12)
    before = torch.backends.mha.get_fastpath_enabled()
    shape = layer_shapes(model, ["relu"])["relu"]

    def broken(layer, tensor):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EffectTracer(model, {"relu": shape}, keep=broken)(pictures(12), {"relu": None})
    assert torch.backends.mha.get_fastpath_enabled() == before
    assert not any(module._forward_hooks for module in model.network.modules())
    effects(model, pictures(12), "relu", shape, None)  # no forward-mode level is left open
