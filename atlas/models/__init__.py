"""Networks: loading them, reading their layers, and how layers feed the classes."""

from atlas.models.capture import Capture, capture
from atlas.models.device import resolve_device
from atlas.models.effects import EffectTracer, Pass, effect_caveat, effects
from atlas.models.fields import Field
from atlas.models.layers import LayerInfo, as_grid, describe_layers, layer_shapes, layer_table, prefix_tokens
from atlas.models.load import Model, load_model, load_network
from atlas.models.patches import PatchField, patch_box, patch_field, receptive_field
from atlas.models.preprocess import Preprocess

__all__ = [
    "Capture",
    "EffectTracer",
    "Field",
    "LayerInfo",
    "Model",
    "Pass",
    "PatchField",
    "Preprocess",
    "as_grid",
    "capture",
    "describe_layers",
    "effect_caveat",
    "effects",
    "layer_shapes",
    "layer_table",
    "load_model",
    "load_network",
    "patch_box",
    "patch_field",
    "prefix_tokens",
    "receptive_field",
    "resolve_device",
]
