"""Writing an atlas stage by stage: what is recorded in `atlas.json` is whole, all else is written again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from atlas.errors import StoreError
from atlas.records import CellStatistics, Icons, LayerQuality, Layout, Level, Progress, RowKind, silent
from atlas.storage.atlas import (
    LEVEL_ARRAYS,
    QUALITY,
    QUALITY_ARRAYS,
    SCORE_ARRAYS,
    STATISTICS_ARRAYS,
    Atlas,
    IconTrust,
    open_atlas,
)
from atlas.storage.atlas_header import (
    HEADER,
    MARKS,
    AtlasHeader,
    LayerHeader,
    LevelHeader,
    layer_folder,
    level_folder,
    read_header,
    write_header,
)
from atlas.storage.files import folder_beside, hash_file, make_folder, remove_unfinished
from atlas.storage.sheets import ReadPicture, write_icon_tiles, write_sheets
from atlas.storage.stages import column, holds_atlas, stages_of
from atlas.storage.tables import read_arrays, write_arrays, write_table


class AtlasWriter:
    """Writes an atlas in order: images, thumbnails, then for each layer samples, patches and levels, then finish.

    Every stage can be asked for (`has_images()`, ...) and skipped when it is there, so a killed run goes on.
    A reader may open the folder at any time. One writer at a time.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        name: str,
        fingerprint: str,
        classes: Sequence[str] = (),
        outputs: Sequence[str] = (),
        aligned: bool = False,
        skipped: Iterable[tuple[str, str]] = (),
        notes: Iterable[str] = (),
        provenance: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> None:
        """Start an atlas, or go on with one of the same fingerprint, whose header then stays as it is.

        Raises StoreError when the folder holds another thing, or an atlas of another fingerprint without force.
        """
        self.path = Path(path)
        fresh = AtlasHeader(
            name=name,
            fingerprint=fingerprint,
            images=0,
            classes=tuple(classes),
            outputs=tuple(outputs),
            aligned=aligned,
            skipped=tuple((str(image), str(reason)) for image, reason in skipped),
            notes=tuple(notes),
            provenance=dict(provenance or {}),
        )
        if not holds_atlas(self.path):
            self._start(fresh)
            return
        header = read_header(self.path)
        if header.fingerprint == fingerprint:
            self._go_on(header)
        elif force:
            self._empty(header)
            self._start(fresh)
        else:
            raise StoreError(
                f"{self.path} was made from another configuration: choose another --out, or replace it with --force"
            )

    @classmethod
    def resume(cls, path: str | Path) -> AtlasWriter:
        """Go on with an existing atlas, whatever its fingerprint: to add icons to a level, say."""
        writer = cls.__new__(cls)
        writer.path = Path(path)
        writer._go_on(read_header(writer.path))
        return writer

    @property
    def header(self) -> AtlasHeader:
        """What is recorded so far."""
        return self._header

    def has_images(self) -> bool:
        """Say whether the table of images is written."""
        return "images.parquet" in self._header.files

    def has_thumbnails(self) -> bool:
        """Say whether all thumbnails are written."""
        return any(name.startswith("thumbnails/") for name in self._header.files)

    def has_samples(self, layer: int) -> bool:
        """Say whether a layer's samples and layout are written."""
        return layer < len(self._header.layers)

    def has_patches(self, layer: int) -> bool:
        """Say whether a layer's real patches are written."""
        return f"{layer_folder(layer)}/patches.npz" in self._header.files

    def has_level(self, layer: int, level: int, *, icons: bool = False) -> bool:
        """Say whether a level is written; with icons=True, whether its icons are as well, or no cell may have one."""
        if not self.has_samples(layer) or level not in {known.level for known in self._header.layers[layer].levels}:
            return False
        folder = level_folder(layer, level)
        if not icons or any(name.startswith(f"{folder}/icons/") for name in self._files()):
            return True
        return not read_arrays(self.path / folder / "cells.npz", ["kept"])["kept"].any()

    def write_images(
        self,
        ids: Sequence[str],
        label: ArrayLike | None = None,
        prediction: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        width: ArrayLike | None = None,
        height: ArrayLike | None = None,
    ) -> None:
        """Write the table of images; absent columns become -1, NaN or 0.

        Where labels are output indices (`aligned`), the accuracy over labelled and predicted images is recorded.
        """
        count = len(ids)
        labels = column(label, count, np.int32, -1)
        predictions = column(prediction, count, np.int32, -1)
        write_table(
            self.path / "images.parquet",
            {
                "id": pa.array(ids, pa.string()),
                "label": labels,
                "prediction": predictions,
                "confidence": column(confidence, count, np.float32, np.nan),
                "width": column(width, count, np.int32, 0),
                "height": column(height, count, np.int32, 0),
            },
        )
        judged = (labels >= 0) & (predictions >= 0)
        known = self._header.aligned and bool(judged.any())
        accuracy = float((labels == predictions)[judged].mean()) if known else None
        self._record(["images.parquet"], images=count, accuracy=accuracy)

    def write_thumbnails(self, read: ReadPicture, workers: int = 1, progress: Progress = silent) -> None:
        """Write one thumbnail per image: read(i) is the picture of image i, or None, which leaves its slot grey.

        Goes on after the last whole sheet. With workers above 1, read is called from several threads.
        """
        size, count = self._header.thumbnail_size, self._header.images
        folder = self.path / "thumbnails"
        paths = write_sheets(folder, count, size, read, workers=workers, stage="thumbnails", progress=progress)
        self._record(self._relative(paths))

    def write_layer_samples(
        self,
        layer: int,
        *,
        name: str,
        kind: RowKind,
        channels: int,
        layout: Layout,
        image_of: NDArray[np.integer[Any]],
        uv: NDArray[np.float32] | None = None,
        box: NDArray[np.float32] | None = None,
        settings: Mapping[str, Any] | None = None,
        icon_size: int = 96,
        patch_size: int = 96,
    ) -> None:
        """Write a layer's samples with their layout; what the layer held before (patches, levels) is dropped.

        layer counts from 0 without gaps. uv (rows, 2) defaults to the centre and box (rows, 4) to the whole
        picture. settings say how the layout was made: method, neighbors, metric, seed.
        """
        if layer > len(self._header.layers):
            raise ValueError(f"layer {layer} is written before layer {len(self._header.layers)}")
        rows = len(layout.positions)
        uv = np.full((rows, 2), 0.5, np.float32) if uv is None else np.asarray(uv, np.float32)
        box = np.tile(np.array([0, 0, 1, 1], np.float32), (rows, 1)) if box is None else np.asarray(box, np.float32)
        self._drop_layer(layer)
        folder = self.path / layer_folder(layer)
        folder.mkdir(parents=True)
        columns: dict[str, NDArray[Any]] = {
            "image": np.asarray(image_of, np.int32),
            "x": layout.positions[:, 0],
            "y": layout.positions[:, 1],
            "state": layout.state,
        }
        columns |= dict(zip(("u", "v"), uv.T, strict=True))
        columns |= dict(zip(("left", "top", "right", "bottom"), box.T, strict=True))
        write_table(folder / "samples.parquet", columns)
        header = LayerHeader(
            name=name,
            index=layer,
            samples=rows,
            pool="sample" if kind == "positions" else kind,
            channels=channels,
            states=layout.counts(),
            left_out=int(np.isnan(layout.positions[:, 0]).sum()),
            icon_size=icon_size,
            patch_size=patch_size,
            patches=0,
            layout=dict(settings or {}),
        )
        layers = (*self._header.layers[:layer], header, *self._header.layers[layer + 1 :])
        self._record([f"{layer_folder(layer)}/samples.parquet"], layers=layers)

    def write_patches(
        self,
        layer: int,
        rows: NDArray[np.int64],
        read: ReadPicture,
        workers: int = 1,
        progress: Progress = silent,
    ) -> None:
        """Write the real patches of some sample rows (distinct); read(k) is the crop of rows[k], or None.

        None leaves the slot of patch k grey; the patch keeps its place in the list. Comes before the layer's levels,
        which name patches by sample row. Goes on after the last whole sheet.
        """
        rows = np.asarray(rows, np.int64)
        if len(np.unique(rows)) != len(rows):
            raise ValueError("patch rows are not distinct")
        header, folder = self._header.layers[layer], self.path / layer_folder(layer)
        plan = folder / "patches.npz"
        # Sheets of an interrupted run, and levels, are kept only when they name the same rows.
        if not (plan.exists() and np.array_equal(read_arrays(plan, ["row"])["row"], rows)):
            for stage in ("patches", "patches.npz", "levels"):
                self._forget(f"{layer_folder(layer)}/{stage}")
            self._record([], layers=self._layers(layer, patches=0, levels=()))
            shutil.rmtree(folder / "patches", ignore_errors=True)
            write_arrays(plan, {"row": rows})
        paths = write_sheets(
            folder / "patches", len(rows), header.patch_size, read, workers=workers, stage="patches", progress=progress
        )
        self._record(self._relative([plan, *paths]), layers=self._layers(layer, patches=len(rows)))

    def write_level(
        self, layer: int, level: Level, statistics: CellStatistics, icons: Icons | None = None, believe: float = 0.0
    ) -> None:
        """Write one level, whole or not at all, in place of what it was; icons holds one per kept cell, in order.

        statistics.patches name sample rows; rows that are not in the layer's patch list are left out. believe: the
        robust cosine under which an icon is marked as not to be believed.
        """
        header = self._header.layers[layer]
        arrays = {name: getattr(level, name) for name in LEVEL_ARRAYS}
        arrays |= {name: getattr(statistics, name) for name in STATISTICS_ARRAYS}
        arrays["patches"], arrays["patch_cosine"] = self._patch_indices(layer, statistics)
        kept = int(level.kept.sum())
        if icons is not None and icons.images.shape != (kept, header.icon_size, header.icon_size, 3):
            raise ValueError(f"icons are {icons.images.shape}, not {kept} of {header.icon_size} px")
        for name in SCORE_ARRAYS:
            arrays[name] = np.full(len(level), np.nan, np.float32)
            if icons is not None:
                arrays[name][level.kept] = getattr(icons, name)
        arrays |= vars(IconTrust.of(level, icons, believe))
        place = self.path / level_folder(layer, level.level)
        place.parent.mkdir(exist_ok=True)
        levels, complete = {known.level: known for known in header.levels}, self._header.complete
        with folder_beside(place) as beside:
            write_arrays(beside / "cells.npz", arrays)
            if icons is not None and kept:
                write_icon_tiles(beside / "icons", level, icons.images)
            # A level that is replaced is first struck: a crash leaves it absent, in an unfinished atlas.
            if levels.pop(level.level, None):
                self._forget(level_folder(layer, level.level))
                self._record([], layers=self._layers(layer, levels=tuple(levels.values())))
            shutil.rmtree(place, ignore_errors=True)
        levels[level.level] = LevelHeader(level.level, level.side, len(level), 0 if icons is None else kept)
        ordered = tuple(levels[number] for number in sorted(levels))
        files = self._relative(path for path in place.rglob("*") if path.is_file())
        self._record(files, layers=self._layers(layer, levels=ordered), complete=complete)

    def has_quality(self, layer: int) -> bool:
        """Say whether it is written what a layer's layout keeps."""
        return f"{layer_folder(layer)}/{QUALITY}" in self._files()

    def write_quality(self, layer: int, quality: LayerQuality) -> None:
        """Write what a layer's layout keeps, in place of what was known; trust has one array for each level."""
        path = self.path / layer_folder(layer) / QUALITY
        trust = {f"trust_{level}": values for level, values in enumerate(quality.trust)}
        write_arrays(path, {name: getattr(quality, name) for name in QUALITY_ARRAYS} | trust)
        self._record(self._relative([path]), layers=self._layers(layer, quality=dict(quality.figures)))

    def write_figures(self, layer: int, figures: Mapping[str, float | None]) -> None:
        """Replace the figures of a layer's quality alone."""
        self._record([], layers=self._layers(layer, quality=dict(figures)))

    def record_files(self, names: Iterable[str]) -> None:
        """Take files that stand in the folder, whole, into the record: what goes beside a comparison's atlas."""
        self._record(names)

    def finish(self) -> Atlas:
        """Mark the atlas complete and open it."""
        self._record([], complete=True)
        return open_atlas(self.path)

    def _start(self, header: AtlasHeader) -> None:
        make_folder(self.path)
        remove_unfinished(self.path)
        self._header = header
        write_header(self.path, header)

    def _go_on(self, header: AtlasHeader) -> None:
        """Take up the record, without the stages of which a file has gone missing."""
        self._header = header
        remove_unfinished(self.path)
        gone = [name for name in header.files if not (self.path / name).is_file()]
        for stage in {stage for name in gone for stage in stages_of(name)}:
            self._forget(stage)
        layers: tuple[LayerHeader, ...] = ()
        for layer in header.layers:
            folder = layer_folder(layer.index)
            if f"{folder}/samples.parquet" not in self._header.files:
                break
            whole = tuple(v for v in layer.levels if f"{level_folder(layer.index, v.level)}/cells.npz" in self._files())
            patches = layer.patches if f"{folder}/patches.npz" in self._files() else 0
            quality = layer.quality if f"{folder}/{QUALITY}" in self._files() else {}
            layers += (replace(layer, levels=whole, patches=patches, quality=quality),)
        for layer in header.layers[len(layers) :]:
            self._forget(layer_folder(layer.index))
        images = header.images if self.has_images() else 0
        if gone:
            self._record([], layers=layers, images=images, complete=False)

    def _empty(self, header: AtlasHeader) -> None:
        """Delete the atlas but for the user's own marks."""
        # First the record: a crash from here on leaves an atlas of no configuration, to be forced once more.
        write_header(self.path, replace(header, fingerprint="", images=0, layers=(), files={}, complete=False))
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (HEADER, MARKS):
                path.unlink()

    def _drop_layer(self, layer: int) -> None:
        if self.has_samples(layer):
            self._forget(layer_folder(layer))
            self._record([], layers=self._header.layers[:layer])
        shutil.rmtree(self.path / layer_folder(layer), ignore_errors=True)

    def _patch_indices(self, layer: int, statistics: CellStatistics) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Turn sample rows into indices of the patch list; the absent are dropped, the rest moved up."""
        known = np.empty(0, np.int64)
        if self.has_patches(layer):
            known = read_arrays(self.path / layer_folder(layer) / "patches.npz", ["row"])["row"]
        order = np.argsort(known)
        place = np.searchsorted(known[order], statistics.patches).clip(max=max(0, len(known) - 1))
        index = order[place] if len(known) else np.zeros(statistics.patches.shape, np.int64)
        there = (known[index] == statistics.patches) if len(known) else np.zeros(index.shape, bool)
        found: NDArray[np.int32] = np.where(there, index, -1).astype(np.int32)
        forward = np.argsort(~there, axis=1, kind="stable")
        cosine = np.where(there, statistics.patch_cosine, np.nan).astype(np.float32)
        return np.take_along_axis(found, forward, 1), np.take_along_axis(cosine, forward, 1)

    def _layers(self, layer: int, **changes: Any) -> tuple[LayerHeader, ...]:
        layers = list(self._header.layers)
        layers[layer] = replace(layers[layer], **changes)
        return tuple(layers)

    def _files(self) -> Mapping[str, str]:
        return self._header.files

    def _relative(self, paths: Iterable[Path]) -> list[str]:
        return [path.relative_to(self.path).as_posix() for path in paths]

    def _forget(self, stage: str) -> None:
        """Strike a file or a folder from the record in memory, which is then unfinished; `_record` writes it."""
        kept = {name: v for name, v in self._files().items() if name != stage and not name.startswith(f"{stage}/")}
        self._header = replace(self._header, files=kept, complete=False)

    def _record(self, names: Iterable[str], **changes: Any) -> None:
        """Hash new files and write `atlas.json`, whole."""
        files = {**self._files(), **{name: hash_file(self.path / name) for name in names}}
        self._header = replace(self._header, files=files, **changes)
        write_header(self.path, self._header)
