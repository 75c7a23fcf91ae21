"""What stands out in layer health, in words."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.findings.health import LayerHealth


def unusual(layers: Sequence[LayerHealth]) -> list[str]:
    """Say what stands out, and what it may mean; a sentence each, one that says so where nothing does."""
    said: list[str] = []
    before: LayerHealth | None = None
    for layer in layers:
        name, units = f"'{layer.name}'", layer.channels
        if layer.dead > max(0, 0.05 * units):
            said.append(
                f"{layer.dead} of {units} units of {name} never change on these pictures: they are dead, or made for "
                "what is not among them; pruning them changes nothing here."
            )
        if layer.stuck > 0.05 * units:
            said.append(
                f"{layer.stuck} of {units} units of {name} are at their highest value more than half of the time: "
                "they are saturated and pass hardly any gradient."
            )
        if units >= 16 and layer.effective_rank < 0.1 * units:
            said.append(
                f"{name} uses few of its directions (effective rank {layer.effective_rank:.1f} of {units}): it may be "
                "wider than its task needs, or collapsed."
            )
        if layer.eight_bit is not None and layer.eight_bit < 0.8:
            said.append(
                f"rounded to 8 bits {name} keeps only {layer.eight_bit:.0%} of its neighbours: a few large values set "
                "the scale, so quantise it by channel or leave it."
            )
        if layer.half is not None and layer.half < 0.97:
            said.append(
                f"{name} loses neighbours even in half precision ({layer.half:.0%} kept): its values are extreme."
            )
        now, then = layer.separability, before.separability if before is not None else None
        if now is not None and then is not None and now.centroid < then.centroid - 0.05:
            said.append(
                f"Classes lie less apart in {name} ({now.centroid:.0%} by the nearest mean on held-out pictures) than "
                f"in '{before.name if before else ''}' before it ({then.centroid:.0%})."
            )
        said += _of_spread(layer, before) + _of_rounding(layer)
        before = layer
    said += _of_gradients(layers) + _of_gaps(layers)
    return said or [
        "Nothing stands out: no dead or saturated units, full use of directions, classes ever further apart."
    ]


def _of_spread(layer: LayerHealth, before: LayerHealth | None) -> list[str]:
    then = None if before is None else before.spread
    if before is None or layer.spread is None or then is None or layer.spread < then + 0.1:
        return []
    return [
        f"Classes are more mixed in '{layer.name}' (class spread {layer.spread:.2f}) than in '{before.name}' before it "
        f"({then:.2f})."
    ]


def _of_rounding(layer: LayerHealth) -> list[str]:
    said = []
    for name, cost in (("half precision", "half"), ("8 bits", "eight_bit")):
        found = getattr(layer.rounding, cost, None)
        if found is not None and found.accuracy is not None and found.high < 0 and found.accuracy < -0.01:
            said.append(
                f"Rounding the output of '{layer.name}' to {name} costs {-100 * found.accuracy:.1f} points of accuracy "
                f"({-100 * found.high:.1f} to {-100 * found.low:.1f}): keep that layer finer."
            )
    return said


def _of_gradients(layers: Sequence[LayerHealth]) -> list[str]:
    """Along the depth: what vanishes or explodes does so by orders of magnitude."""
    found = [(layer, layer.gradient) for layer in layers if layer.gradient is not None]
    cut = [layer.name for layer, gradient in found if gradient == 0]
    alive = [(layer, gradient) for layer, gradient in found if gradient]
    said = []
    if cut:
        said.append(
            f"No gradient reaches {', '.join(map(repr, cut[:5]))}: nothing there can learn from these pictures."
        )
    if len(alive) < 2:
        return said
    (first, shallow), (last, deep) = alive[0], alive[-1]
    if shallow < 1e-3 * deep:
        said.append(
            f"Gradients vanish: at '{first.name}' they are {deep / shallow:,.0f} times smaller than at '{last.name}', "
            "so the first layers hardly learn."
        )
    elif shallow > 1e3 * deep:
        said.append(
            f"Gradients grow {shallow / deep:,.0f} times on their way from '{last.name}' back to '{first.name}': "
            "training is likely unstable without clipping."
        )
    return said


def _of_gaps(layers: Sequence[LayerHealth]) -> list[str]:
    """Overfitting: told once, with where it begins and where it is largest."""
    wide = [(layer, layer.gap) for layer in layers if layer.gap is not None and layer.gap.low > 0.02]
    if not wide:
        return []
    first, (worst, gap) = wide[0][0], max(wide, key=lambda one: one[1].gap)
    return [
        f"Overfitted from '{first.name}' on: at '{worst.name}' classes are told apart in {gap.trained:.0%} of other "
        f"pictures that it was trained on, but in {gap.held_out:.0%} of held-out ones (by the {gap.by}; a gap of "
        f"{100 * gap.gap:.0f} points, {100 * gap.low:.0f} to {100 * gap.high:.0f}): part of what it knows holds "
        "for those pictures alone."
    ]
