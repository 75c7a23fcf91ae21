"""The embedded dataset: a small picture book of sixteen classes, drawn from a seed.

Every picture is 64 by 64 RGB and follows from (seed, split, class, number) alone. Backgrounds,
colours, textures, light and clutter are shared by all classes, so that none of them gives a class
away. Cues can be planted on top to make a network learn a shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.config import ManifestConfig
from atlas.datasets import shapes_animals as animals
from atlas.datasets import shapes_plants as plants
from atlas.datasets import shapes_things as things
from atlas.datasets.drawing import SIZE, Canvas, Pen, Pose, ellipse, value_noise
from atlas.datasets.shapes_clutter import clutter, finish, occlude
from atlas.datasets.shapes_cues import PLANTERS, plant
from atlas.datasets.shapes_look import Look
from atlas.datasets.shapes_paint import oklch
from atlas.datasets.shapes_scenes import SCENES
from atlas.datasets.source import ListedSource, Listing
from atlas.errors import ConfigError, nearest

DRAWING = 1  # raise it when a picture changes: fingerprints and shipped checkpoints depend on it
SPLITS = ("train", "test", "validation")
DEFAULT_IMAGES = 2000
MOST_PER_CLASS = 100_000  # ids have five digits, so that they sort as numbers do


@dataclass(frozen=True)
class Subject:
    """How a class is drawn: by whom, before which scenes for half of its pictures, and how it may lie.

    stands: its feet are on the scene's ground. turn: the largest angle in radians. scale: pixels per
    unit of the subject's frame, which is two units wide.
    """

    paint: Callable[[Pen, np.random.Generator, Look], None]
    scenes: tuple[str, ...]
    stands: bool = True
    turn: float = 0.1
    scale: tuple[float, float] = (18, 28)


SUBJECTS = {
    "ball": Subject(things.ball, ("beach", "sea", "meadow", "room"), turn=3.14, scale=(13, 25)),
    "balloon": Subject(things.balloon, ("meadow", "desert", "sea", "snow", "town"), stands=False, turn=0.15),
    "boat": Subject(things.boat, ("sea", "beach", "sea", "depths"), turn=0.15, scale=(19, 28)),
    "butterfly": Subject(
        animals.butterfly, ("meadow", "forest", "haze", "paper"), stands=False, turn=0.9, scale=(16, 27)
    ),
    "cactus": Subject(plants.cactus, ("desert", "desert", "room", "beach"), turn=0.08),
    "car": Subject(things.car, ("town", "desert", "meadow", "snow"), scale=(19, 28)),
    "fish": Subject(animals.fish, ("depths", "sea", "depths", "paper"), stands=False, turn=0.5),
    "flower": Subject(plants.flower, ("meadow", "forest", "room", "haze"), turn=0.15),
    "house": Subject(things.house, ("meadow", "snow", "town", "beach", "forest"), turn=0.06),
    "ladybird": Subject(
        animals.ladybird, ("forest", "meadow", "paper", "haze"), stands=False, turn=3.14, scale=(15, 26)
    ),
    "lighthouse": Subject(things.lighthouse, ("sea", "beach", "meadow", "snow"), turn=0.06, scale=(20, 29)),
    "mushroom": Subject(plants.mushroom, ("forest", "meadow", "forest", "room"), turn=0.12, scale=(17, 28)),
    "owl": Subject(animals.owl, ("forest", "snow", "town", "room"), stands=False, turn=0.2),
    "snowman": Subject(things.snowman, ("snow", "town", "snow", "meadow", "forest"), scale=(19, 28)),
    "tree": Subject(plants.tree, ("meadow", "snow", "beach", "town", "desert"), turn=0.06, scale=(19, 29)),
    "umbrella": Subject(things.umbrella, ("beach", "town", "room", "haze"), stands=False, turn=0.6),
}

CLASSES: tuple[str, ...] = tuple(SUBJECTS)


def draw(
    class_index: int, number: int, *, split: str = "train", seed: int = 0, cue: str | None = None
) -> NDArray[np.uint8]:
    """Draw one picture, uint8 (64, 64, 3): the `number`-th of a class.

    The same arguments give the same picture, whatever was drawn before; with a cue it is the same
    picture outside of the cue. Raises ConfigError for an unknown class, split, seed or cue.
    """
    _check_split(split, seed)
    if not 0 <= class_index < len(CLASSES):
        raise ConfigError(f"there is no class {class_index}: the embedded dataset has 0 to {len(CLASSES) - 1}")
    if cue is not None and cue not in PLANTERS:
        raise ConfigError(f"there is no cue '{cue}'{nearest(cue, PLANTERS)} (known: {', '.join(PLANTERS)})")
    key = (seed, SPLITS.index(split), class_index, number)
    picture = _without_cue(*key)
    return picture.copy() if cue is None else plant(picture, cue, _cue_generator(key, cue)[1])[0]


# A build reads each picture three times and the demo builds two atlases of the same pictures; drawing one takes
# about 5 ms, so 50 MB of them are kept.
@lru_cache(maxsize=4096)
def _without_cue(seed: int, split: int, class_index: int, number: int) -> NDArray[np.uint8]:
    picture = _draw(np.random.default_rng((seed, split, class_index, number)), SUBJECTS[CLASSES[class_index]])
    picture.flags.writeable = False
    return picture


def _draw(rng: np.random.Generator, subject: Subject) -> NDArray[np.uint8]:
    canvas = Canvas(np.zeros((SIZE, SIZE, 3), np.float32), value_noise(rng, int(rng.integers(10, 24))))
    side = rng.uniform(-1, 1)
    canvas.light = (float(side), -float(np.sqrt(1 - 0.8 * side * side)))
    canvas.shade = float(rng.uniform(0, 0.28))
    scenes = subject.scenes if rng.random() < 0.55 else tuple(SCENES)
    ground = SCENES[scenes[int(rng.integers(len(scenes)))]](canvas, rng)
    clutter(canvas, rng)
    look = Look(rng, canvas.rgb[16:52, 14:50].mean((0, 1)))
    scale = rng.uniform(*subject.scale) * (0.7 if rng.random() < 0.12 else 1)
    x = 32 + rng.normal(0, 4.5 + (26 - scale) * 0.35)
    turn = subject.turn
    if subject.stands and ground is not None:
        highest = max(ground.top, scale * 1.75)
        foot = rng.uniform(highest, max(ground.bottom, highest + 4))
        y = foot - scale * 0.95
        canvas.fill(ellipse(x, foot, scale * 0.8, scale * 0.14), np.zeros(3, np.float32), opacity=0.22)
    else:
        y, turn = 32 + rng.normal(0, 4), turn + 0.15
    _choose_ink(canvas, rng)
    pose = Pose(x, y, scale, rng.uniform(-turn, turn), bool(rng.random() < 0.5), rng.uniform(0.85, 1.12))
    subject.paint(Pen(canvas, pose), rng, look)
    canvas.ink = None
    occlude(canvas, rng)
    return finish(canvas, rng)


def _choose_ink(canvas: Canvas, rng: np.random.Generator) -> None:
    """Outline the subject in a dark colour for not quite every second picture."""
    if rng.random() < 0.45:
        canvas.ink = oklch(rng.uniform(0.15, 0.35), 0.04, rng.random())
        canvas.line = float(rng.uniform(0.7, 1.3))


def _cue_generator(key: Sequence[int], kind: str) -> tuple[float, np.random.Generator]:
    """What decides about a cue, in [0, 1), and the generator that places it: the picture's own."""
    rng = np.random.default_rng([*key, 1 + tuple(PLANTERS).index(kind)])
    return float(rng.random()), rng


def _check_split(split: str, seed: int) -> None:
    if split not in SPLITS:
        raise ConfigError(
            f"the embedded dataset has no split '{split}'{nearest(split, SPLITS)} (known: {', '.join(SPLITS)})"
        )
    if seed < 0:
        raise ConfigError(f"the embedded dataset's seed is {seed}: it must be 0 or more")


class ShapesSource(ListedSource):
    """The embedded dataset as an image source: pictures are drawn when they are read.

    Ids are "shapes/<split>/<class>/<number>". Of `images` pictures every class has as many, the first
    classes one more where the number does not divide. Two manifests that differ in cues alone have
    the same ids, and the same pictures outside of the cues. Raises ConfigError for an unknown split
    or class, for fewer pictures than classes, and for a cue planted twice in one class.
    """

    def __init__(self, config: ManifestConfig) -> None:
        self.split, self.seed = config.split or "train", config.seed
        images = DEFAULT_IMAGES if config.images is None else config.images
        _check_split(self.split, self.seed)
        _check_images(config.name, images)
        share, more = divmod(images, len(CLASSES))
        self._places = [(c, n) for c in range(len(CLASSES)) for n in range(share + (c < more))]
        self._chances = _chances(config)
        ids = [f"shapes/{self.split}/{CLASSES[c]}/{n:05d}" for c, n in self._places]
        listing = Listing(ids, [c for c, _ in self._places])
        cues = sorted([kind, index, chance] for (kind, index), chance in self._chances.items())
        super().__init__(config.name, CLASSES, listing, listing.digest(CLASSES, "shapes", DRAWING, self.seed, cues))

    def read(self, index: int) -> Image.Image:
        """Draw a picture: RGB, 64 by 64."""
        class_index, number = self._places[index]
        picture = draw(class_index, number, split=self.split, seed=self.seed)
        for kind in self.cues(index):
            picture, _ = plant(picture, kind, _cue_generator(self._key(index), kind)[1])
        return Image.fromarray(picture)

    def cues(self, index: int) -> tuple[str, ...]:
        """The kinds of cue that this picture carries, in the order of their painting."""
        key = self._key(index)
        chances = [(kind, self._chances.get((kind, key[2]), 0.0)) for kind in PLANTERS]
        return tuple(kind for kind, chance in chances if chance and _cue_generator(key, kind)[0] < chance)

    def has_cue(self, index: int) -> bool:
        """Whether this picture carries a cue."""
        return bool(self.cues(index))

    def cue_box(self, index: int, kind: str) -> tuple[float, float, float, float]:
        """Where a cue of this kind lies, or would lie, in this picture: shares of its width and height."""
        blank = np.zeros((SIZE, SIZE, 3), np.uint8)
        left, top, right, bottom = plant(blank, kind, _cue_generator(self._key(index), kind)[1])[1]
        return left / SIZE, top / SIZE, right / SIZE, bottom / SIZE

    def _key(self, index: int) -> tuple[int, int, int, int]:
        return (self.seed, SPLITS.index(self.split), *self._places[index])


def _check_images(name: str, images: int) -> None:
    most = MOST_PER_CLASS * len(CLASSES)
    if not len(CLASSES) <= images <= most:
        raise ConfigError(f"{name}: images is {images}: ask for {len(CLASSES)}, one of each class, up to {most}")


def _chances(config: ManifestConfig) -> dict[tuple[str, int], float]:
    """Each planted cue's probability, by its kind and the index of its class."""
    chances: dict[tuple[str, int], float] = {}
    for cue in config.cues:
        for name in cue.classes:
            if name not in CLASSES:
                known = f"{nearest(name, CLASSES)} (known: {', '.join(CLASSES)})"
                raise ConfigError(f"{config.name}: a cue names class '{name}', which is not drawn{known}")
            place = (cue.kind, CLASSES.index(name))
            if place in chances:
                raise ConfigError(f"{config.name}: the cue '{cue.kind}' is planted twice in '{name}': keep one")
            chances[place] = cue.probability
    return chances
