"""Any of torchvision's datasets, by name."""

from __future__ import annotations

import inspect
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.config import ManifestConfig, expand_path
from atlas.datasets.decoding import DAMAGE, damaged, to_rgb
from atlas.datasets.labels import Labels, choose_labels, no_labels
from atlas.datasets.source import ListedSource, Listing
from atlas.errors import ConfigError, DataError, PictureError, nearest

_SPLIT_ARGUMENTS = ("split", "image_set", "version", "name", "classes")
# One label per image, known without reading it: lists of numbers, and of (file, number).
_LABEL_LISTS = ("targets", "labels", "_labels", "y")
_PAIR_LISTS = ("samples", "_samples", "imgs")
_SEED_GLOBALLY = frozenset({"FakeData"})  # draws from torch's global generator: one thread at a time


class TorchvisionSource(ListedSource):
    """A dataset of torchvision's; ids are "NAME/split/00042", the number being the index in it.

    Labels are read from the dataset's own list. Where it has none but gives whole numbers with its
    pictures (FakeData, PCAM), every image is read once to learn them; where it gives anything else
    (boxes, captions, masks), the images are unlabelled.
    """

    def __init__(self, config: ManifestConfig, base: Path) -> None:
        kind = _find_class(config)
        where = f"torchvision's {config.dataset}"
        self._dataset = _construct(kind, config, base)
        self._lock = threading.Lock() if config.dataset in _SEED_GLOBALLY else nullcontext()
        count = len(self._dataset)
        if not count:
            raise DataError(f"{where} holds no pictures: check 'path' and 'split'")
        self._check_first(where)
        folder = "/".join(part for part in (config.dataset, config.split) if part)
        width = max(5, len(str(count - 1)))
        ids = [f"{folder}/{i:0{width}d}" for i in range(count)]
        labels = choose_labels(config.labels, base, ids, own=self._own_labels, folders=None, where=where)
        listing = Listing(ids, labels.values)
        super().__init__(config.name, labels.classes, listing, listing.digest(labels.classes, config.dataset))

    def read(self, index: int) -> Image.Image:
        """The picture at an index of `entries`. Raises PictureError when it cannot be read."""
        try:
            return to_rgb(_as_image(self._item(index)[0]))
        except DAMAGE as error:
            raise PictureError(damaged(error)) from None

    def _check_first(self, where: str) -> None:
        """Refuse a dataset of something else, such as videos or pairs, before every read fails."""
        try:
            picture = self._item(0)[0]
        except DAMAGE:
            return  # one broken picture, told when it is read
        try:
            _as_image(picture)
        except PictureError as error:
            raise DataError(f"{where} holds no single pictures ({error}): choose another dataset") from None
        except DAMAGE:
            return

    def _item(self, index: int) -> Any:
        with self._lock:
            return self._dataset[index]

    def _own_labels(self) -> Labels:
        values = _listed_labels(self._dataset)
        if values is None:
            values = self._read_labels()
        if values is None:
            return no_labels(len(self._dataset))
        labels = np.where(values < 0, -1, values).astype(np.int32)
        most = int(labels.max(initial=-1)) + 1
        names = _class_names(self._dataset)
        return Labels(names if len(names) >= most else tuple(str(i) for i in range(most)), labels)

    def _read_labels(self) -> np.ndarray | None:
        labels = np.full(len(self._dataset), -1, np.int64)
        for index in range(len(labels)):
            try:
                target = self._item(index)[1]
            except DAMAGE:
                continue  # told when the picture is read
            number = _whole_number(target)
            if number is None:
                return None
            labels[index] = number
        return labels


def _find_class(config: ManifestConfig) -> type:
    from torchvision import datasets

    known = sorted(
        name
        for name in datasets.__all__
        if inspect.isclass(getattr(datasets, name)) and name not in ("VisionDataset", "DatasetFolder")
    )
    if config.dataset is None:
        raise ConfigError(
            f"the manifest '{config.name}' lacks 'dataset': name one of torchvision's, such as \"CIFAR10\""
        )
    if config.dataset not in known:
        same = next((name for name in known if name.lower() == config.dataset.lower()), None)
        hint = f"; did you mean '{same}'?" if same else nearest(config.dataset, known)
        raise DataError(f"torchvision has no dataset '{config.dataset}'{hint} (known: {', '.join(known)})")
    kind: type = getattr(datasets, config.dataset)
    return kind


def _construct(kind: type, config: ManifestConfig, base: Path) -> Any:
    accepted = _arguments_of(kind)
    arguments: dict[str, Any] = {}
    root = None
    if "root" in accepted:
        if config.path is None:
            raise ConfigError(f"the manifest '{config.name}' lacks 'path': name the folder of torchvision's datasets")
        root = expand_path(config.path, base)
        arguments["root"] = str(root)
    elif config.path is not None:
        raise ConfigError(f"torchvision's {kind.__name__} reads no folder: remove 'path' from '{config.name}'")
    if config.split is not None:
        arguments |= _split_arguments(kind, config.split, accepted)
    if "download" in accepted:
        arguments["download"] = config.download
    elif config.download:
        raise ConfigError(f"torchvision cannot download {kind.__name__}: fetch it by hand and remove 'download'")
    try:
        return kind(**arguments)
    except (RuntimeError, OSError, ValueError, TypeError, LookupError, ImportError) as error:
        remedy = "" if config.download or "download" not in accepted else ", or set download = true"
        raise DataError(
            f"torchvision's {kind.__name__} cannot be opened{f' in {root}' if root else ''} "
            f"({' '.join(str(error).split())}): check 'path' and 'split'{remedy}"
        ) from None


def _arguments_of(kind: type) -> set[str]:
    """Names of the constructor's arguments, with those that its **kwargs hand on to its parents."""
    accepted: set[str] = set()
    for parent in kind.__mro__:
        if "__init__" in vars(parent):
            arguments = inspect.signature(vars(parent)["__init__"]).parameters.values()
            accepted |= {argument.name for argument in arguments}
            if not any(argument.kind is inspect.Parameter.VAR_KEYWORD for argument in arguments):
                break
    return accepted


def _split_arguments(kind: type, split: str, accepted: set[str]) -> dict[str, Any]:
    """How this dataset takes its split: by name, or by a flag for training; EMNIST by both, as "letters/test"."""
    own = set(inspect.signature(kind).parameters)
    name, _, part = split.partition("/")
    by_name = next((argument for argument in _SPLIT_ARGUMENTS if argument in own), None)
    if by_name and not part:
        return {by_name: split}
    flag = part if by_name else split
    if "train" in accepted and flag in ("train", "test"):
        return {"train": flag == "train"} | ({by_name: name} if by_name else {})
    if "train" in accepted:
        raise DataError(f'torchvision\'s {kind.__name__} has no split \'{split}\': use "train" or "test"')
    raise ConfigError(f"torchvision's {kind.__name__} has no splits: remove 'split'")


def _listed_labels(dataset: Any) -> np.ndarray | None:
    found: list[Any] = [getattr(dataset, name, None) for name in _LABEL_LISTS]
    for name in _PAIR_LISTS:
        pairs = getattr(dataset, name, None)
        if isinstance(pairs, list) and pairs and isinstance(pairs[0], tuple) and len(pairs[0]) == 2:
            found.append([pair[1] for pair in pairs])
    for values in found:
        if values is None or isinstance(values, str) or len(values) != len(dataset):
            continue
        first = _whole_number(values[0])
        array = None if first is None else np.asarray(values)
        if array is not None and array.ndim == 1 and np.issubdtype(array.dtype, np.integer):
            return array
    return None


def _class_names(dataset: Any) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None) or ()
    if not isinstance(names, list | tuple):
        return ()
    return tuple(name if isinstance(name, str) else ", ".join(map(str, name)) for name in names)


def _whole_number(target: Any) -> int | None:
    try:
        array = np.asarray(target)
    except ValueError:  # lists of unequal length, such as boxes
        return None
    if array.size != 1 or not np.issubdtype(array.dtype, np.integer):
        return None
    return int(array.reshape(()))


def _as_image(picture: Any) -> Image.Image:
    if isinstance(picture, Image.Image):
        picture.load()
        return picture
    shape = getattr(picture, "shape", None)
    if shape is not None and len(shape) in (2, 3):
        array = np.asarray(picture)
        if array.dtype == np.uint8 and (len(shape) == 2 or shape[2] in (1, 3, 4)):
            return Image.fromarray(array[..., 0] if len(shape) == 3 and shape[2] == 1 else array)
    raise PictureError(f"the dataset gives a {type(picture).__name__}, not a picture")
