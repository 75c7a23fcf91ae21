"""A layer's figures against loops and planted faults; the chain on a network whose faults are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.errors import LayerError
from atlas.findings.health import (
    Cost,
    Gap,
    LayerHealth,
    Rounding,
    Units,
    class_spread,
    cost_of,
    effective_rank,
    eight_bits,
    half_precision,
    judge,
    neighbours_kept,
    separability,
    separability_gap,
    split,
)
from atlas.findings.health_record import Health
from atlas.findings.health_told import unusual
from atlas.layer_health import health
from tests.tiny import write_folder_pipeline


def units(channels: int, **given) -> Units:
    plain = {
        "lowest": np.zeros(channels),
        "highest": np.ones(channels),
        "at_highest": np.full(channels, 0.01),
        "zero": 0.5,
        "norm": 1.0,
        "bytes": 100,
        "seconds": 1.0,
    }
    return Units(**(plain | given))


def test_effective_rank_of_known_spectra() -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    scores = np.linalg.qr(rng.normal(size=(200, 31)) - 0)[0]
    scores = np.linalg.qr(scores - scores.mean(0))[0][:, :5]
    equal = scores @ directions[:5]
    assert effective_rank(equal) == pytest.approx(5, rel=1e-6)
    values = np.array([8.0, 4, 2, 1, 1])
    shares = values / values.sum()
    assert effective_rank(scores * values @ directions[:5]) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert effective_rank(np.full((20, 4), 3.0)) == 0
    wide = rng.normal(size=(10, 500))
    singular = np.linalg.svd(wide - wide.mean(0), compute_uv=False)
    shares = singular[:9] / singular[:9].sum()
    assert effective_rank(wide) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)


def test_classes_apart_are_told_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(200) % 4
    noise = rng.normal(size=(200, 40))
    apart = noise.copy()
    apart[np.arange(200), labels] += 12
    fitted = split(200)
    assert fitted.sum() == 100
    found = separability(apart, labels, fitted)
    assert found is not None
    assert found.probe == 1
    assert found.centroid > 0.95
    guess = separability(noise, labels, fitted)
    assert guess is not None
    assert guess.probe is not None
    assert guess.probe < 0.5
    assert guess.probe_fitted is not None
    assert guess.probe_fitted > guess.probe + 0.2  # 40 directions fit 100 pictures of nothing


def test_the_nearest_mean_by_a_loop() -> None:
    rng = np.random.default_rng(2)
    rows, labels, fitted = rng.normal(size=(90, 6)), rng.integers(0, 3, 90), split(90)
    rows[:, 0] += labels
    scaled = (rows - rows[fitted].mean(0)) / rows[fitted].std(0)
    hits = []
    for row, label in zip(scaled[~fitted], labels[~fitted], strict=True):
        apart = [np.linalg.norm(row - scaled[fitted & (labels == one)].mean(0)) for one in range(3)]
        hits.append(int(np.argmin(apart)) == label)
    found = separability(rows, labels, fitted, probe=False)
    assert found is not None
    assert found.centroid == pytest.approx(np.mean(hits))
    assert found.probe is None
    assert separability(rows, np.full(90, -1), fitted) is None


def test_rounding_and_what_it_costs() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(120, 20)).astype(np.float32)
    coarse = eight_bits(rows)
    step = np.abs(rows).max() / 127
    assert np.abs(coarse - rows).max() <= step / 2 + 1e-6
    np.testing.assert_allclose(coarse / step, np.round(coarse / step), atol=1e-3)
    assert half_precision(np.array([1e6]))[0] == 65504
    assert neighbours_kept(rows, rows) == 1
    other, same = rows + rng.normal(size=rows.shape).astype(np.float32), []
    for i in range(120):
        near = []
        for values in (rows, other):
            centred = values - values.mean(0)
            cosines = centred @ centred[i] / np.linalg.norm(centred, axis=1)
            near.append(set(np.argsort(-cosines)[:11].tolist()) - {i})
        same.append(len(near[0] & near[1]) / 10)
    assert neighbours_kept(rows, other) == pytest.approx(np.mean(same), abs=0.01)
    assert neighbours_kept(rows, half_precision(rows)) > 0.99
    one_large = rows.copy()
    one_large[0, 0] = 5000.0  # it alone sets the scale: all others become 0
    assert neighbours_kept(one_large, eight_bits(one_large)) < 0.3
    assert neighbours_kept(rows, rng.normal(size=rows.shape)) < 0.2


def test_planted_faults_are_counted_and_told() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(60, 10)).astype(np.float32)
    highest, at_highest = np.ones(10), np.full(10, 0.01)
    highest[:2] = 0  # never above 0
    highest[3], at_highest[3] = 6, 0.8  # a ReLU6 at its end
    found = judge(
        "block", "Conv2d", units(10, highest=highest, at_highest=at_highest), rows, np.full(60, -1), totals=(400, 4.0)
    )
    assert (found.dead, found.stuck) == (2, 1)
    assert (found.memory_share, found.time_share) == (0.25, 0.25)
    assert found.separability is None
    said = unusual([found])
    assert any("2 of 10 units of 'block' never change" in sentence for sentence in said)
    assert any("saturated" in sentence for sentence in said)
    healthy = judge("fine", "Conv2d", units(10), rows, np.full(60, -1), totals=(400, 4.0))
    assert unusual([healthy])[0].startswith("Nothing stands out")
    json.dumps(found.to_dict())


NETWORK = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU6()), nn.Sequential(nn.Conv2d(6, 5, 3)))
        self.head = nn.Linear(5, 2)
        with torch.no_grad():
            self.stem[0].bias[:3] = -1000  # dead
            self.body[0][0].bias[0] = 1000  # always at 6: it never changes, which is dead, too

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


def network():
    return Net()
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, tint in (("dark", 60), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(35):
            pixels = (tint + rng.integers(-40, 40, (16, 16, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number:02}.png")
    return write_folder_pipeline(tmp_path, NETWORK, '"stem"')


def test_the_chain_finds_what_is_planted(pipeline: Path) -> None:
    import torch

    from atlas.job import open_job

    found = health(pipeline)
    assert [layer.name for layer in found.layers] == ["stem", "body.0", "body.1.0", "head"]
    assert [layer.dead for layer in found.layers] == [3, 1, 0, 0]
    assert found.images == 70
    stem = found.layers[0]
    job = open_job(pipeline)
    pictures = job.model.preprocess.stack([job.model.preprocess.picture(job.source.read(i)) for i in range(70)])
    outputs = job.model.network.stem(job.model.preprocess.normalise(pictures)).numpy()
    counted = [*range(0, 64, 4), *range(64, 70, 4)]  # every fourth picture of a batch of 64
    assert stem.sparsity == pytest.approx((outputs[counted] == 0).mean(), abs=1e-4)
    assert stem.norm == pytest.approx(np.linalg.norm(outputs.reshape(70, -1), axis=1).mean(), rel=1e-4)
    assert stem.effective_rank == pytest.approx(effective_rank(outputs.mean((2, 3))), rel=1e-3)
    assert stem.bytes == 8 * 16 * 16 * 4
    assert sum(layer.memory_share for layer in found.layers) == pytest.approx(1)
    assert stem.separability is not None
    assert stem.separability.centroid == 1  # dark against light
    said = job.model.network(job.model.preprocess.normalise(pictures)).argmax(1).numpy()
    labels = np.array([job.source.entries()[i].label for i in range(70)])
    assert found.accuracy == pytest.approx((said == labels).mean())
    assert not any(m._forward_hooks for m in torch.nn.Module.modules(job.model.network))


def test_chosen_layers_and_fewer_images(pipeline: Path) -> None:
    found = health(pipeline, layers=["body.0.0"], images=24, probe=False)
    assert [layer.name for layer in found.layers] == ["body.0.0"]
    assert found.images == 24
    with pytest.raises(LayerError, match="no layer 'bod'"):
        health(pipeline, layers=["bod"])


def test_class_spread_by_a_loop_and_at_its_ends() -> None:
    rng = np.random.default_rng(5)
    rows, labels = rng.normal(size=(90, 7)), np.arange(90) % 3
    rows[:, 0] += 2 * labels
    within = total = 0.0
    for channel in range(7):
        column = rows[:, channel]
        total += column.var(ddof=1)
        within += sum(((column[labels == one] - column[labels == one].mean()) ** 2).sum() for one in range(3)) / 87
    assert class_spread(rows, labels) == pytest.approx(within / total)
    assert class_spread(np.eye(3)[labels], labels) == pytest.approx(0, abs=1e-12)
    noise = [class_spread(rng.normal(size=(90, 7)), labels) for _ in range(40)]
    assert np.mean(noise) == pytest.approx(1, abs=0.01)  # unbiased: classes that say nothing take up no variance
    assert class_spread(rows, np.full(90, -1)) is None
    assert class_spread(np.ones((90, 7)), labels) is None


def test_the_cost_of_rounding_is_of_paired_differences() -> None:
    labels = np.array([0] * 50 + [-1] * 10)
    plain = np.array([0] * 40 + [1] * 10 + [3] * 10)
    rounded = plain.copy()
    rounded[:6] = 2  # six lost
    rounded[40] = 0  # one gained
    found = cost_of(plain, rounded, labels)
    assert found.changed == pytest.approx(7 / 60)
    assert found.accuracy == pytest.approx(-5 / 50)
    differences = np.array([-1] * 6 + [1] + [0] * 43)
    half = 1.96 * differences.std(ddof=1) / np.sqrt(50)
    assert (found.low, found.high) == pytest.approx((-0.1 - half, -0.1 + half))
    same = cost_of(plain, plain, labels)
    assert (same.accuracy, same.low, same.high) == pytest.approx((0, -0.06, 0.06))
    assert cost_of(plain, rounded, np.full(60, -1)).accuracy is None


def test_pictures_known_by_heart_show_as_a_gap() -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(400) % 4
    apart, noise = np.eye(4)[labels] * 4 + rng.normal(size=(400, 4)), rng.normal(size=(400, 4))
    wide = separability_gap(apart, labels, noise, labels, probe=False)
    assert wide is not None
    assert (wide.by, wide.low > 0.4) == ("nearest mean", True)
    assert wide.low < wide.gap < wide.high
    assert wide.spread_trained is not None
    assert wide.spread_held_out is not None
    assert wide.spread_trained < 0.5 < wide.spread_held_out
    around = []
    for seed in range(12):
        one, other = (np.eye(4)[labels] + rng.normal(size=(400, 4)) for _ in range(2))
        around.append(separability_gap(one, labels, other, labels, seed=seed))
    assert all(gap is not None and gap.by == "probe" for gap in around)
    inside = sum(gap is not None and gap.low <= 0 <= gap.high for gap in around)
    assert inside >= 10  # the same kind of pictures on both sides: no gap
    assert separability_gap(apart, np.full(400, -1), noise, labels) is None


def test_gradients_and_rounding_against_a_loop(pipeline: Path) -> None:
    import torch
    from torch.nn import functional

    from atlas.job import open_job

    found = health(pipeline, gradients=70, rounded=70, probe=False)
    job = open_job(pipeline)
    model = job.model
    pictures = model.preprocess.normalise(
        model.preprocess.stack([model.preprocess.picture(job.source.read(i)) for i in range(70)])
    )
    labels = torch.tensor([job.source.entries()[i].label for i in range(70)])
    net = model.network
    stages = [
        (net.stem, lambda h: net.head(net.body(h).mean((2, 3)))),
        (net.body[0], lambda h: net.head(net.body[1](h).mean((2, 3)))),
        (net.body[1][0], lambda h: net.head(h.mean((2, 3)))),
        (net.head, lambda h: h),
    ]
    h = pictures
    for layer, (stage, rest) in zip(found.layers, stages, strict=True):
        with torch.no_grad():
            h = net.head(h.mean((2, 3))) if stage is net.head else stage(h)
        leaf = h.clone().requires_grad_()
        lengths = []
        for i in range(70):
            (slope,) = torch.autograd.grad(functional.cross_entropy(rest(leaf)[i : i + 1], labels[i : i + 1]), leaf)
            lengths.append(float(slope[i].norm()))
        assert layer.gradient == pytest.approx(np.mean(lengths), rel=1e-4)
        assert layer.rounding is not None
        step = float(h.abs().max()) / 127
        with torch.no_grad():
            plain, coarse = rest(h).argmax(1), rest(torch.round(h / step) * step).argmax(1)
        assert layer.rounding.images == 70
        assert layer.rounding.eight_bit.changed == pytest.approx(float((plain != coarse).float().mean()), abs=0.02)
        gained = float((coarse == labels).float().mean() - (plain == labels).float().mean())
        assert layer.rounding.eight_bit.accuracy == pytest.approx(gained, abs=0.02)
    assert not any(m._forward_hooks for m in net.modules())


def test_a_second_manifest_tells_the_gap_whichever_it_is(pipeline: Path, tmp_path: Path) -> None:
    from atlas.errors import ConfigError, DataError

    other = tmp_path / "other.toml"
    other.write_text('name = "other"\nsource = "folder"\npath = "pictures"\n')
    as_held = health(pipeline, held_out=other, probe=False, gradients=0, rounded=0)
    as_trained = health(pipeline, trained=other, probe=False, gradients=0, rounded=0)
    assert as_held.other is not None
    assert as_trained.other is not None
    assert (as_held.other.trained, as_trained.other.trained) == (False, True)
    assert as_held.other.accuracy == as_held.accuracy  # the same pictures
    stem = as_held.layers[0]
    assert stem.gap is not None
    assert stem.gap.trained == stem.gap.held_out == 1  # dark against light
    assert stem.rounding is None
    with pytest.raises(ConfigError, match="not both"):
        health(pipeline, trained=other, held_out=other)
    (tmp_path / "elsewhere" / "red").mkdir(parents=True)
    Image.new("RGB", (16, 16)).save(tmp_path / "elsewhere" / "red" / "1.png")
    other.write_text('name = "other"\nsource = "folder"\npath = "elsewhere"\n')
    with pytest.raises(DataError, match="no class in common"):
        health(pipeline, held_out=other, probe=False, gradients=0, rounded=0)


def test_a_record_goes_to_json_and_comes_back(pipeline: Path, tmp_path: Path) -> None:
    from atlas.errors import DataError

    found = health(pipeline, held_out=tmp_path / "data.toml", gradients=16, rounded=16)
    file = tmp_path / "health.json"
    file.write_text(json.dumps(found.to_dict()))
    assert Health.read(file) == found
    assert all(len(row) == len(found.table()[0]) for row in found.table())
    for broken in ("{}", "[1]", '{"kind": "health", "schema": 1, "layers": 3}', "no json"):
        file.write_text(broken)
        with pytest.raises(DataError, match="atlas health PIPELINE"):
            Health.read(file)


def test_vanishing_gradients_gaps_and_costly_rounding_are_told() -> None:
    rows, labels = np.random.default_rng(7).normal(size=(60, 10)).astype(np.float32), np.full(60, -1)

    def layer(name: str, **given) -> LayerHealth:
        return judge(name, "Conv2d", units(10), rows, labels, totals=(400, 4.0), **given)

    gap = Gap("probe", 0.99, 0.6, 0.39, 0.33, 0.45, 0.1, 0.4)
    dear = Rounding(200, Cost(0.0, 0.0, -0.01, 0.01), Cost(0.1, -0.08, -0.11, -0.05))
    said = "\n".join(unusual([layer("a", gradient=1e-6), layer("b", gradient=1.0, gap=gap, rounding=dear)]))
    assert "Gradients vanish: at 'a' they are 1,000,000 times smaller than at 'b'" in said
    assert "Overfitted from 'b' on" in said
    assert "Rounding the output of 'b' to 8 bits costs 8.0 points" in said
    assert "half precision costs" not in said
    assert "No gradient reaches 'a'" in "\n".join(unusual([layer("a", gradient=0.0), layer("b", gradient=1.0)]))
