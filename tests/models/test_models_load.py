from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from atlas.config import PreprocessConfig
from atlas.errors import ModelError
from atlas.models import Preprocess, load_model, load_network, resolve_device
from atlas.models.checkpoints import hash_weights, read_checkpoint

IMAGENET = PreprocessConfig(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SMALL = PreprocessConfig(resize=16, crop=16, mean=(0.5,), std=(0.25,))

FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes=3, width=4):
        super().__init__()
        self.body = nn.Conv2d(3, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)
    def forward(self, x):
        return self.head(self.norm(self.body(x)).mean((2, 3)))

def net(): return Net()
def wide(): return Net(width=5)
def ten(): return Net(classes=10)
def deeper():
    made = Net()
    made.extra = nn.Linear(2, 2)
    return made
def raising(): raise ValueError("no weights here\\nsecond line")
def needing(size): return Net()
def nothing(): return {"a": 1}
class Encoder(Net):
    def forward(self, x): return self.body(x)
constant = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    here = tmp_path / "repo" / "pipelines"
    here.mkdir(parents=True)
    (here / "bench_nets.py").write_text(FACTORY)
    (here / "broken_nets.py").write_text("import nowhere_to_be_found\n")
    (here / "raising_nets.py").write_text("1 / 0\n")
    return here


def load(name: str, folder: Path, **options):
    return load_model(name, folder=folder, **{"preprocess": SMALL, **options})


def state_of(folder: Path, factory: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    network = load_network(f"python:bench_nets:{factory}", folder=folder)
    return {
        key: torch.randn_like(value) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }


# Factories


def test_a_factory_is_found_in_the_folder_and_in_the_one_above(folder) -> None:
    before = list(sys.path)
    model = load("python:bench_nets:net", folder, classes=["a", "b", "c"])
    again = load("python:pipelines.bench_nets:Net", folder)
    assert model.outputs == ("a", "b", "c")
    assert model.is_classifier
    assert not again.is_classifier
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert model.weights_hash == again.weights_hash  # drawn from the same seed
    assert sys.path == before


def test_two_folders_with_a_module_of_the_same_name_do_not_mix(folder, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "bench_nets.py").write_text(FACTORY.replace("classes=3", "classes=7"))
    assert load("python:bench_nets:net", folder).network.head.out_features == 3
    assert load("python:bench_nets:net", other).network.head.out_features == 7
    assert load("python:bench_nets:net", folder).network.head.out_features == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squeezenet1_0", "not of the form torchvision:NAME, timm:NAME or python"),
        ("keras:vgg", "not of the form"),
        ("torchvision:", "not of the form"),
        ("python:bench_nets", "not of the form python:package.module:factory"),
        ("python:no_such_module:net", r"there is no module 'no_such_module' \(looked first in .*pipelines"),
        ("python:pipelines.missing:net", "there is no module 'pipelines.missing'"),
        ("python:bench_nets:nett", "module bench_nets has no 'nett'; did you mean 'net'"),
        ("python:bench_nets:constant", "is a int: name a function or class"),
        ("python:bench_nets:raising", r"failed when called without arguments: ValueError: no weights here$"),
        ("python:bench_nets:needing", "failed when called without arguments: TypeError"),
        ("python:bench_nets:nothing", "returned a dict: the factory must return a torch.nn.Module"),
        ("python:broken_nets:net", "needs 'nowhere_to_be_found', which is not installed"),
        ("python:raising_nets:net", "importing raising_nets failed: ZeroDivisionError"),
        ("torchvision:resnet19", "torchvision has no classifier 'resnet19'; did you mean 'resnet"),
    ],
)
def test_wrong_names_are_explained(folder, name, message) -> None:
    with pytest.raises(ModelError, match=message):
        load(name, folder)


def test_a_factory_takes_no_weights_name(folder) -> None:
    with pytest.raises(ModelError, match="takes no weights name"):
        load("python:bench_nets:net", folder, weights="DEFAULT")


# Preprocessing


def test_preprocessing_is_never_guessed(folder) -> None:
    with pytest.raises(ModelError, match=r"brings no preprocessing, which is never guessed: add \[model.preprocess\]"):
        load("python:bench_nets:net", folder, preprocess=None)
    with pytest.raises(ModelError, match=r"published weights use resize = 256, crop = 224, mean = \[0.485"):
        load_model("torchvision:squeezenet1_1", weights="random")


def test_a_factory_may_bring_its_own_preprocessing(folder) -> None:
    own = "    made.preprocess = Preprocess((0.5,), (0.5,), crop=(8, 8))\n"
    text = (
        FACTORY + "from atlas.models import Preprocess\ndef brings():\n    made = Net()\n" + own + "    return made\n"
    )
    (folder / "bringing_nets.py").write_text(text)
    model = load("python:bringing_nets:brings", folder, preprocess=None)
    assert model.preprocess.input_shape == (3, 8, 8)
    assert load("python:bringing_nets:brings", folder).preprocess == Preprocess.from_config(SMALL)


# Class names


def test_the_number_of_class_names_is_held_to_the_logits(folder) -> None:
    with pytest.raises(ModelError, match=r"output of shape \(n, 3\), but 2 class names were given"):
        load("python:bench_nets:net", folder, classes=["a", "b"])
    with pytest.raises(ModelError, match=r"output of shape \(n, 4, 14, 14\), but 3 class names"):
        load("python:bench_nets:Encoder", folder, classes=["a", "b", "c"])


def test_an_input_that_the_network_cannot_take_is_explained(folder) -> None:
    grey = PreprocessConfig(resize=16, crop=16, mean=(0.5,), std=(0.5,), channels=1)
    with pytest.raises(ModelError, match=r"cannot run on an input of 1x16x16.*check resize, crop and channels"):
        load("python:bench_nets:net", folder, preprocess=grey, classes=["a", "b", "c"])


# Checkpoints


@pytest.mark.parametrize(
    ("suffix", "outer"),
    [("pt", None), ("pth", "state_dict"), ("pt", "model"), ("pt", "model_state_dict"), ("safetensors", None)],
)
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_every_way_of_saving_gives_the_same_network(folder, tmp_path, suffix, outer, prefix) -> None:
    state = state_of(folder, "net")
    path = tmp_path / f"weights.{suffix}"
    saved = {prefix + key: value for key, value in state.items()}
    if suffix == "safetensors":
        save_file(saved, path)
    else:
        torch.save({outer: saved, "epoch": 3} if outer else saved, path)
    network = load("python:bench_nets:net", folder, checkpoint=path).network
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_counters_may_be_missing(folder, tmp_path) -> None:
    state = {key: value for key, value in state_of(folder, "net").items() if "num_batches" not in key}
    torch.save(state, tmp_path / "old.pt")
    load("python:bench_nets:net", folder, checkpoint=tmp_path / "old.pt")


@pytest.mark.parametrize(
    ("saved", "built", "message"),
    [
        ("ten", "net", r"2 of another shape \(head.weight: \(10, 4\) against the network's \(3, 4\).*"
         r"another number of classes: 10 in the checkpoint, 3 in the network"),
        ("wide", "net", "of another shape.*another variant of the architecture"),
        ("deeper", "net", r"of 9 keys 2 unknown to the network \(extra.weight, extra.bias\).*a deeper network"),
        ("net", "deeper", r"2 missing from it \(extra.weight, extra.bias\).*suggests a shallower network"),
    ],
)  # fmt: skip
def test_a_misfit_says_which_keys_and_what_it_suggests(folder, tmp_path, saved, built, message) -> None:
    torch.save(state_of(folder, saved), tmp_path / "w.pt")
    with pytest.raises(ModelError, match=message):
        load(f"python:bench_nets:{built}", folder, checkpoint=tmp_path / "w.pt")


def test_a_foreign_prefix_is_named(folder, tmp_path) -> None:
    state = {f"student.{key}": value for key, value in state_of(folder, "net").items()}
    torch.save({**state, "teacher.x": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"keys begin with 'student\.'"):
        load("python:bench_nets:net", folder, checkpoint=tmp_path / "w.pt")
    torch.save({"x": torch.zeros(1), "y": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="suggests another architecture"):
        load("python:bench_nets:net", folder, checkpoint=tmp_path / "w.pt")


class Trap:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickled_code_is_refused_and_never_run(tmp_path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "trap": Trap(sprung)}, tmp_path / "trap.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    for name in ("trap.pt", "plain.pt", "module.pt"):
        with pytest.raises(
            ModelError, match=r"holds pickled Python objects, which are never run: save model.state_dict"
        ):
            read_checkpoint(tmp_path / name)
    assert not sprung.exists()


def test_damaged_checkpoints_are_explained(tmp_path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_bytes(b"not a checkpoint at all")
    (tmp_path / "text.safetensors").write_bytes(b"not a checkpoint at all")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, message in {
        "half.pt": "is damaged or truncated", "empty.pt": "is damaged or truncated", "text.pt": "is not a torch",
        "text.safetensors": "cannot be read as safetensors", "none.pt": "holds no state dict",
        "list.pt": "holds no state dict", "absent.pt": "does not exist: check the path",
    }.items():  # fmt: skip
        with pytest.raises(ModelError, match=message):
            read_checkpoint(tmp_path / name)


def test_weights_and_checkpoint_exclude_each_other(tmp_path) -> None:
    with pytest.raises(ModelError, match="both weights and a checkpoint"):
        load_model("torchvision:resnet18", weights="DEFAULT", checkpoint=tmp_path / "x.pt")


def test_the_hash_sees_every_name_type_and_value() -> None:
    def made(**changes) -> nn.Module:
        module = nn.Module()
        for name, value in {"a": torch.arange(4.0), "b": torch.zeros(0), **changes}.items():
            module.register_buffer(name, value)
        return module

    variants = [
        made(), made(a=torch.arange(4.0) + 1e-6), made(a=torch.arange(4.0).reshape(2, 2)), made(c=torch.zeros(1)),
        made(a=torch.arange(4.0, dtype=torch.float64)), made(a=torch.arange(4.0, dtype=torch.bfloat16)),
        made(n=torch.tensor(3)),
    ]  # fmt: skip
    assert len({hash_weights(module) for module in variants}) == len(variants)
    assert hash_weights(made()) == hash_weights(made(a=torch.arange(8.0)[::2] / 2))  # strides are no content


# Devices


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ModelError, match="device 'gpu' is not known: use auto, cpu, cuda"):
        resolve_device("gpu")
    with pytest.raises(ModelError, match="device 'cuda:99' is not available"):
        resolve_device("cuda:99")


def test_a_model_moves(folder) -> None:
    model = load("python:bench_nets:net", folder)
    assert model.to("cpu").device == torch.device("cpu")


# The real network


@pytest.mark.real
def test_squeezenet_recognises_real_pictures(test_data) -> None:
    rows = (test_data / "imagenet_sample" / "classes.csv").read_text().splitlines()
    names = [row.split(",")[2] for row in rows if row.split(",")[0].isdecimal()]
    synsets = [row.split(",")[1] for row in rows if row.split(",")[0].isdecimal()]
    assert len(names) == 1000
    model = load_model(
        "torchvision:squeezenet1_0", checkpoint=test_data / "weights" / "squeezenet1_0_imagenet.pt",
        preprocess=IMAGENET, classes=names,
    )  # fmt: skip
    chosen = range(10, 1000, 40)
    pictures = []
    for index in chosen:
        with Image.open(test_data / "imagenet_sample" / "images" / synsets[index] / f"{synsets[index]}.jpg") as image:
            pictures.append(model.preprocess.picture(image))
    with torch.inference_mode():
        logits = model.check_logits(model.network(model.preprocess.normalise(model.preprocess.stack(pictures))))
    top = logits.topk(5).indices
    right = sum(index in row for index, row in zip(chosen, top.tolist(), strict=True))
    assert right >= 0.65 * len(pictures)  # 0.817 on all 1,000; 25 pictures vary by 0.08
