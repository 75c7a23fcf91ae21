"""What was found of a picture, as one page and as files."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from atlas.attribution import METHODS, TITLES, Attribution, Sanity
from atlas.looking.drawing import Pixels, address, coloured, enlarged, figure, overlaid, placed, png, sheet
from atlas.looking.grid_section import grid_picture, grids_section, part_icon, parts_overlay
from atlas.looking.grids import ActivationGrid
from atlas.looking.run import Look, Place
from atlas.storage.files import make_folder, write_bytes, write_json, written_beside

_SAYS = {
    "saliency": "how much each pixel's change would move the logit",
    "gradient_input": "the gradient times the pixel",
    "smoothgrad": "saliency, averaged over 16 noisy copies",
    "integrated_gradients": "what each pixel adds on the way from the mean colour to the picture",
    "cam": "the last map, weighted by the class's row of the classifier",
    "grad_cam": "channels weighted by their mean gradient; what speaks against is cut off",
    "guided_grad_cam": "Grad-CAM times guided back-propagation: finer, but it restores edges of its own accord",
    "lrp": "the logit shared out backwards, layer by layer: z+ in convolutions, epsilon in linear layers",
    "deeplift": "what each pixel adds against the mean colour, by the rescale rule",
}


def write_look(found: Look, folder: Path) -> list[Path]:
    """Write `look.html`, which needs no other file, and beside it all pictures as PNG and all arrays as `.npz`."""
    make_folder(folder)
    pictures = _pictures(found)
    for name, pixels in pictures.items():
        write_bytes(folder / name, png(pixels))
    arrays = _arrays(found)
    for name, values in arrays.items():
        with written_beside(folder / name) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **values)
    write_json(folder / "look.json", document(found))
    page = folder / "look.html"
    write_bytes(page, to_html(found).encode())
    return [page, folder / "look.json", *(folder / name for name in (*pictures, *arrays))]


def document(found: Look) -> dict[str, Any]:
    """What was found, in plain values."""
    return {
        "image": found.title,
        "model": found.network,
        "size": list(found.size),
        "label": found.label,
        "likeliest": [{"class": name, "share": share} for name, share in found.likeliest],
        "explained": found.explained,
        "attributions": {
            method: {
                "logit": float(one.logits[0]),
                "sum": float(one.balance.found[0]),
                "promised": float(one.balance.promised[0]) if one.balance.binding else None,
                "error": float(one.balance.error[0]) if one.balance.binding else None,
                "layer": one.layer,
                "sanity": _sanity_values(found.sanity.get(method)),
            }
            for method, one in found.attributions.items()
        },
        "refused": dict(found.refusals),
        "layers": [
            {
                "name": maps.layer,
                "channels": maps.channels.tolist(),
                "strength": maps.strength.tolist(),
                "of": maps.count,
                "rectified": maps.rectified,
            }
            for maps in found.layers
        ],
        "grids": [
            {
                "layer": grid.layer,
                "icons": list(grid.norms.shape),
                "together": grid.together,
                "robust": float(np.nanmedian(grid.robust)) if np.isfinite(grid.robust).any() else None,
                "parts": None
                if grid.parts is None
                else {"count": len(grid.parts), "explained": grid.parts.explained, "negative": grid.parts.negative},
            }
            for grid in found.grids
        ],
        "places": [
            {"layer": p.layer, "spots": p.spots.tolist(), "cosine": p.cosine, "nearest": [id for id, _ in p.nearest]}
            for p in found.places
        ],
    }


def _sanity_values(check: Sanity | None) -> dict[str, Any] | None:
    if check is None:
        return None
    curves = {
        name: [value if np.isfinite(value) else None for value in values]
        for name, values in (("rank", check.rank), ("ssim", check.ssim))
    }
    return {"layers": list(check.layers), "shares": list(check.shares), **curves}


def _pictures(found: Look) -> dict[str, Pixels]:
    pictures = {"picture.png": found.seen}
    for method, one in found.attributions.items():
        pictures[f"{method}.png"] = _drawn(found, one)
    for maps in found.layers:
        pictures[f"activations_{_safe(maps.layer)}.png"] = sheet([tile for _, tile in _tiles(maps)])
    for grid in found.grids:
        name = _safe(grid.layer)
        pictures[f"grid_{name}.png"] = grid_picture(grid)
        if grid.parts is not None:
            pictures[f"parts_{name}.png"] = parts_overlay(grid, found.seen)
            pictures[f"part_icons_{name}.png"] = sheet([part_icon(grid, i) for i in range(len(grid.parts))])
    if found.filters is not None:
        pictures["filters.png"] = sheet(list(found.filters.images), columns=16)
    if found.attention is not None:
        heads = found.attention.maps
        pictures["attention.png"] = sheet(
            [coloured(head, signed=False) for block in heads for head in block], columns=heads.shape[1]
        )
        pictures["rollout.png"] = enlarged(coloured(found.attention.rollout, signed=False), 256)
    for place in found.places:
        pictures[f"place_{_safe(place.layer)}.png"] = _map_of(found, place)
    return pictures


def _arrays(found: Look) -> dict[str, dict[str, Any]]:
    arrays: dict[str, dict[str, Any]] = {
        "activations.npz": {
            f"{_safe(maps.layer)}.{name}": getattr(maps, name)
            for maps in found.layers
            for name in ("values", "channels", "strength")
        }
    }
    if found.attributions:
        arrays["attributions.npz"] = {method: one.values[0] for method, one in found.attributions.items()}
    if found.grids:
        arrays["grids.npz"] = {
            f"{_safe(grid.layer)}.{name}": values for grid in found.grids for name, values in _grid_arrays(grid).items()
        }
    if found.attention is not None:
        arrays["attention.npz"] = {"weights": found.attention.weights, "rollout": found.attention.rollout}
    return arrays


def _grid_arrays(grid: ActivationGrid) -> dict[str, Any]:
    arrays = {"norms": grid.norms, "icons": grid.icons, "robust": grid.robust}
    if grid.parts is None:
        return arrays
    parts = {"part_weights": grid.parts.weights, "part_directions": grid.parts.directions}
    return arrays | parts | {"part_icons": grid.part_icons}


def _drawn(found: Look, one: Attribution) -> Pixels:
    return enlarged(overlaid(one.maps[0], found.seen, signed=one.signed), 256)


def _tiles(maps: Any) -> list[tuple[int, Pixels]]:
    """One scale for all channels of a layer: which of them is loud can be seen."""
    most = float(np.abs(maps.values).max()) or 1.0
    return [
        (int(channel), enlarged(coloured(values, signed=not maps.rectified, most=most)))
        for channel, values in zip(maps.channels, maps.values, strict=True)
    ]


def _map_of(found: Look, place: Place) -> Pixels:
    assert found.atlas is not None
    return placed(found.atlas, place.number, place.spots)


def _safe(layer: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in layer)


def to_html(found: Look) -> str:
    """The page: no script, no other file, every name escaped."""
    say = html.escape
    sections = [_head(found)]
    if found.attributions or found.refusals:
        figures = []
        for method in METHODS:
            title = f"<b>{say(TITLES[method])}</b> <i>{say(_SAYS[method])}.</i> "
            if method in found.attributions:
                one = found.attributions[method]
                words = title + say(_balance_words(one))
                if method in found.sanity:
                    words += " " + say(found.sanity[method].text)
                figures.append(figure(_drawn(found, one), words, TITLES[method]))
            else:
                figures.append(
                    f'<figure class="no"><p>{say(found.refusals[method])}.</p><figcaption>{title}</figcaption></figure>'
                )
        sections.append(
            f"<h2>What speaks for “{say(found.explained or '')}”</h2><p>Red speaks for the class, blue against it "
            "(saliency, SmoothGrad and Grad-CAM know no against); each map has a scale of its own. A map says what "
            "this method computes, not what a person would mean by a reason.</p>"
            f"<div class='wide'>{''.join(figures)}</div>"
        )
    sections.append(grids_section(found.grids, found.seen))
    for maps in found.layers:
        kind = (
            "rectified: no value is below 0, dark is 0"
            if maps.rectified
            else "raw: red is above 0, blue below, before any ReLU"
        )
        tiles = "".join(figure(tile, f"<b>{channel}</b>", f"channel {channel}") for channel, tile in _tiles(maps))
        sections.append(
            f"<h2>Layer {say(maps.layer)}</h2><p>The {len(maps.channels)} channels of {maps.count} that this picture "
            f"raises the most, on one scale ({kind}).</p><div class='tiles'>{tiles}</div>"
        )
    sections += [_attention_section(found), _filters_section(found)]
    sections += [_place_section(found, place) for place in found.places]
    return _PAGE.format(title=say(f"{found.title} · {found.network}"), sections="\n".join(sections))


def _head(found: Look) -> str:
    say = html.escape
    width, height = found.size
    lines = [f"{say(found.network)} · {width} × {height} px, of which it sees this."]
    if found.label is not None:
        lines.append(f"Its label is “{say(found.label)}”.")
    if not found.likeliest:
        lines.append("An encoder: it has no classes, so there is nothing to explain.")
    bars = "".join(
        f"<tr><td>{say(name)}</td><td><div style='width:{max(1, round(160 * share))}px'></div></td>"
        f"<td>{share:.1%}</td></tr>"
        for name, share in found.likeliest
    )
    picture = address(enlarged(found.seen, 256))
    return (
        f"<h1>{say(found.title)}</h1><div class='head'><img src='{picture}' alt='the picture as the network sees it'>"
        f"<div><p>{' '.join(lines)}</p><table>{bars}</table></div></div>"
    )


def _balance_words(one: Attribution) -> str:
    total, logit = float(one.balance.found[0]), float(one.logits[0])
    layer = f"Read at {one.layer}. " if one.layer is not None else ""
    if not one.balance.binding:
        return f"{layer}Promises no sum (logit {logit:.3g})."
    due = float(one.balance.promised[0])
    return f"{layer}Adds up to {total:.4g} of {due:.4g}, {float(one.balance.error[0]):.2%} off."


def _attention_section(found: Look) -> str:
    if found.attention is None:
        return ""
    maps = found.attention.maps
    heads = "".join(
        figure(enlarged(coloured(head, signed=False)), f"{b}.{h}", f"block {b}, head {h}")
        for b, block in enumerate(maps)
        for h, head in enumerate(block)
    )
    rollout = figure(enlarged(coloured(found.attention.rollout, signed=False), 256), "<b>Rollout</b>", "rollout")
    who = "CLS looks" if found.attention.prefix else "tokens look on average"
    return (
        f"<h2>Attention</h2><p>Where {who}, block.head, each on its own scale; and the rollout, all blocks with their "
        f"shortcuts multiplied (Abnar and Zuidema 2020).</p><div class='wide'>{rollout}</div>"
        f"<div class='tiles'>{heads}</div>"
    )


def _filters_section(found: Look) -> str:
    if found.filters is None:
        return ""
    shown = "".join(figure(enlarged(image, 48), str(i), f"filter {i}") for i, image in enumerate(found.filters.images))
    name = html.escape(found.filters.layer)
    return f"<h2>The first filters, {name}</h2><p>Mid-grey is 0; one scale.</p><div class='small'>{shown}</div>"


def _place_section(found: Look, place: Place) -> str:
    say = html.escape
    near = ", ".join(f"{say(id)} ({count})" if count > 1 else say(id) for id, count in place.nearest)
    words = (
        f"Its {len(place.spots)} position{'s' * (len(place.spots) != 1)} fall on the rings, each on the sample in the "
        f"midst of its nearest (mean cosine {place.cosine:.2f}). Nearest pictures: {near}."
    )
    return f"<h2>On the map of {say(place.layer)}</h2><p>{words}</p>{figure(_map_of(found, place), '', 'its place')}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1.25rem; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .75rem; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .2rem; }}
p {{ color: color-mix(in srgb, CanvasText 70%, Canvas); max-width: 48rem; margin: .2rem 0 .8rem; }}
.head {{ display: flex; flex-wrap: wrap; gap: 1.5rem; }}
.head img {{ width: 256px; height: auto; align-self: flex-start; }}
table {{ border-spacing: 0 .25rem; }} td {{ padding-right: .9rem; font-variant-numeric: tabular-nums; }}
td div {{ background: #b2182b; height: .7rem; border-radius: 2px; }}
.wide {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.4rem 1.2rem; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); gap: .7rem; }}
.grids {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(30rem, 100%), 1fr)); gap: 1.4rem; }}
.parts {{ display: grid; grid-template-columns: minmax(16rem, 24rem) minmax(0, 1fr); gap: 1.2rem; align-items: start; }}
h3 {{ font-size: 1rem; margin: 1.6rem 0 .2rem; }}
.small {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(2.8rem, 1fr)); gap: .5rem; }}
figure {{ margin: 0; }} img {{ width: 100%; display: block; border-radius: 4px; image-rendering: pixelated; }}
h2 ~ figure img {{ max-width: 40rem; }}
figcaption {{ font-size: .82rem; margin-top: .35rem; color: color-mix(in srgb, CanvasText 70%, Canvas); }}
figcaption b {{ color: CanvasText; }} figcaption i {{ font-style: normal; }}
.no p {{ border: 1px dashed color-mix(in srgb, CanvasText 35%, Canvas); border-radius: 4px; padding: .8rem; margin: 0;
  font-size: .85rem; overflow-wrap: anywhere; }}
@media print {{ body {{ margin: 0; max-width: none; }} figure {{ break-inside: avoid; }} h2 {{ break-after: avoid; }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }} }}
</style></head><body>
{sections}
</body></html>
"""
