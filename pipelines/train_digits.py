"""Train the digits' network: `python pipelines/train_digits.py --out pipelines/checkpoints`.

Every fifth of scikit-learn's 1,797 digits is held out. Takes some ten seconds on two cores, writes
digits.safetensors, and prints one JSON document with the accuracy on the digits not trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that the file runs from a checkout

from atlas.config import load_pipeline_config
from atlas.datasets import load_manifest
from atlas.models import Preprocess
from pipelines.networks import digits_cnn

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 30
BATCH = 64


def read_digits() -> tuple[Tensor, Tensor]:
    """Inputs (1797, 1, 32, 32) as the pipeline's preprocessing makes them, and labels (1797,)."""
    config = load_pipeline_config(ROOT / "pipelines" / "digits.toml").model.preprocess
    assert config is not None, "pipelines/digits.toml has a [model.preprocess]"
    preprocess = Preprocess.from_config(config)
    source = load_manifest(ROOT / "data_manifests" / "digits.toml")
    inputs = preprocess.normalise(preprocess.stack([preprocess.picture(source.read(i)) for i in range(len(source))]))
    return inputs, torch.tensor([entry.label for entry in source.entries()])


def train(inputs: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Train from random weights; each batch is shifted by up to 4 pixels."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = digits_cnn()
    steps = len(inputs) // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps * EPOCHS)
    for _ in range(EPOCHS):
        order = torch.randperm(len(inputs), generator=generator)
        for chosen in order[: steps * BATCH].split(BATCH):
            down, across = torch.randint(-4, 5, (2,), generator=generator).tolist()
            shifted = functional.pad(inputs[chosen], (4, 4, 4, 4), value=-1)
            shifted = shifted[:, :, 4 + down : 36 + down, 4 + across : 36 + across]
            loss = functional.cross_entropy(network(shifted), labels[chosen], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def main() -> None:
    """Train, measure, save, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for digits.safetensors")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    arguments = parser.parse_args()
    inputs, labels = read_digits()
    held_out = torch.arange(len(inputs)) % 5 == 0
    network = train(inputs[~held_out], labels[~held_out], arguments.seed)
    with torch.no_grad():
        right = network(inputs[held_out]).argmax(1) == labels[held_out]
    answer = {
        "accuracy": round(right.float().mean().item(), 4),
        "held_out": int(held_out.sum()),
        "seed": arguments.seed,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    metadata = {"recipe": "pipelines/train_digits.py", **{key: str(value) for key, value in answer.items()}}
    save_file(network.state_dict(), arguments.out / "digits.safetensors", metadata)
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
