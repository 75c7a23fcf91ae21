"""How every figure of a report is computed: a sentence, a formula where there is one, and its source."""

from __future__ import annotations

import html
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One figure: its name, how it is computed (plain text, with its formula), and whose it is."""

    name: str
    how: str
    source: str = ""


ENTRIES: dict[str, Entry] = {
    "accuracy": Entry(
        "Accuracy",
        "Pictures whose predicted class (the largest logit) is their label, over all labelled pictures that "
        "could be read. The interval is Wilson's at 95 %: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z "
        "= 1.96.",
        "Wilson 1927",
    ),
    "confidence": Entry(
        "Confidence",
        "The softmax of the predicted class's logit, its mean over pictures; calibrated, it equals accuracy.",
    ),
    "hash": Entry(
        "Hashes",
        "SHA-256. Of the weights: over every tensor's name, type, shape and bytes; of a file: over its bytes. "
        "The same hash is the same network, or the same file.",
    ),
    "layout": Entry(
        "The map",
        "Each sample is the activation vector of one place in one picture, or of a whole picture. The layout "
        "puts samples in two dimensions so that neighbours stay neighbours; distances between groups mean "
        "little.",
        "t-SNE: van der Maaten and Hinton 2008; UMAP: McInnes et al. 2018; activation atlases: Carter et al. 2019",
    ),
    "icon": Entry(
        "Icon",
        "The picture, found by gradient ascent on its pixels, whose activation points along the mean "
        "activation of a cell's samples. An argument, not evidence: what can excite the network there, not "
        "what did.",
        "Olah et al. 2017",
    ),
    "recall": Entry(
        "recall_15, recall_50",
        "Of a sample's 15 (or 50) nearest by the layout's metric among raw activations, the share that are "
        "also its nearest on the map; the mean over at most 2,000 samples.",
    ),
    "trustworthiness": Entry(
        "trustworthiness, continuity",
        "1 − c Σᵢ Σ_j (rank − k), over false neighbours on the map with their ranks in truth "
        "(trustworthiness), or lost ones with their ranks on the map (continuity); k = 15; c scales the worst "
        "case to 0. 0.5 is chance.",
        "Venna and Kaski 2006",
    ),
    "centroids": Entry(
        "centroids",
        "Spearman's correlation of the distances between classes' centroids, on the map against in truth.",
    ),
    "stability": Entry(
        "stability",
        "Of a sample's 15 nearest on the map, the share that a layout with another seed keeps.",
    ),
    "pca": Entry(
        "pca_recall_15",
        "recall_15 of the leading principal components from which neighbours are looked for.",
    ),
    "scores": Entry(
        "centre, robust, windowed, strength",
        "Of each icon as it is stored: cos(h, v) with v its cell's mean activation and h the icon's, at its "
        "centre; the same under eight shifts, turns, scales, blurs and JPEG; h averaged under a sin² window. "
        "strength: h·v / v·v at the centre. Medians over all icons.",
        "docs/icons.md",
    ),
    "matched": Entry(
        "matched",
        "Share of icons whose activation is nearer to their own cell's mean than to any other's.",
    ),
    "suspect": Entry(
        "Suspect",
        "A group of pictures that the network treats alike and that may share a cue which is not the class "
        "itself. Groups are found on one half of the pictures, by a hash of their ids, and tested on the other.",
        "docs/suspects.md",
    ),
    "suspect_p": Entry(
        "p of a suspect",
        "How often natural groups of the same size stand out as far; after Benjamini and Hochberg over all "
        "groups tried.",
        "Benjamini and Hochberg 1995",
    ),
    "suspect_figures": Entry(
        "Figures of a suspect",
        "size: its pictures. purity: those of them that carry the label most of them carry. share of class: those, of "
        "the label's pictures. accuracy gap, confidence gap: of them, less that of the label's others. pull: of "
        "other labels' pictures, how many more are taken for the fed class if they belong. effect: its mean effect on "
        "the fed class's logit, less that of the label's other pictures. In brackets 95 % intervals over pictures.",
        "Newcombe 1998 (shares), Welch 1947 (means)",
    ),
    "causal": Entry(
        "Causal test",
        "The suspected cue is taken out of its pictures (its direction projected out of the layer, its box "
        "blurred or painted over), or put into others; told is by how much the logit of the class that it "
        "feeds changes, the mean and its 95 % bootstrap interval over pictures. Controls are directions and "
        "patches of natural groups of the same size, and the band is the spread of their means.",
        "docs/suspects.md",
    ),
    "used": Entry(
        "Used",
        "Whether the causal test moves the logit by more than the controls do. It says that the network uses "
        "the cue, not that the cue is wrong: a dog's face is used, too.",
        "docs/suspects.md",
    ),
    "spurious": Entry(
        "Spurious",
        "A second answer with its own evidence: the class fares worse without the cue, the cue lies off the "
        "object, covers a part of the class alone, repeats pixel for pixel, or comes from few sources.",
        "docs/suspects.md",
    ),
    "dead": Entry(
        "dead",
        "Units (channels) whose value never changes over all pictures and positions.",
    ),
    "stuck": Entry(
        "stuck",
        "Units at exactly their highest value, other than 0, in more than half of all values.",
    ),
    "zeros": Entry(
        "zeros",
        "Share of all values that are exactly 0.",
    ),
    "norm": Entry(
        "norm",
        "Mean Euclidean length of a picture's whole activation.",
    ),
    "gradient": Entry(
        "gradient",
        "Mean length over pictures of ∂loss/∂output of the layer, the loss one picture's cross-entropy.",
    ),
    "rank": Entry(
        "rank",
        "Effective rank: exp(−Σ pᵢ ln pᵢ), pᵢ the shares of the singular values of the centred pooled vectors.",
        "Roy and Vetterli 2007",
    ),
    "spread": Entry(
        "spread",
        "Share of the pooled vectors' variance within classes, unbiased: (SS_within / (n − k)) / (SS_total / "
        "(n − 1)). 0: each class one point; 1: classes say nothing.",
    ),
    "probe": Entry(
        "nearest mean, probe, on fitted",
        "Accuracy on the half of the pictures that was not fitted on, by the nearest class mean and by "
        "logistic regression (C = 0.1, channels standardised); on fitted: the latter on its own half.",
        "Alain and Bengio 2016",
    ),
    "gap": Entry(
        "trained on, held out",
        "A classifier fitted on half of the pictures that the network was trained on, tried on their other "
        "half and on held-out ones: what differs is the network's doing. Interval: Agresti and Caffo's for two "
        "shares.",
        "Agresti and Caffo 2000",
    ),
    "rounding": Entry(
        "half, 8 bit",
        "Share of each picture's 10 nearest that remain when the pooled vectors are rounded to float16, or to "
        "255 equal steps from −max to max; and, with accuracy, by how much the network's accuracy changes when "
        "that layer's output is so rounded (paired over pictures, 95 %).",
    ),
    "bytes": Entry(
        "kB, time",
        "Bytes of one picture's output; share of the listed layers' time.",
    ),
    "cka": Entry(
        "cka",
        "Debiased linear centred kernel alignment of both networks' activations: 1 the same up to rotation and "
        "scale, 0 unrelated.",
        "Kornblith et al. 2019; Song et al. 2012",
    ),
    "procrustes": Entry(
        "procrustes",
        "1 − ‖XᵀY‖_* / (‖X‖_F ‖Y‖_F) of the centred rows: what is left after the best rotation; 0 the same.",
        "Schönemann 1966; Ding et al. 2021",
    ),
    "overlap": Entry(
        "neighbor_overlap",
        "Of the 10 nearest of a sample in one network and in the other, the share of those in either list that "
        "are in both, samples of its own picture left out.",
    ),
    "floor": Entry(
        "Noise floor",
        "Where a figure would lie for a network trained again by the same recipe (retrained, from reference "
        "checkpoints), or with other pictures (sampling, which says nothing of training). What is inside is "
        "not news.",
    ),
    "change": Entry(
        "What changed",
        "Groups of pictures found on one half and tested on the other, by the share of each one's ten nearest "
        "that are in the group, against the noise floor; p after Benjamini and Hochberg.",
        "docs/compare.md",
    ),
}


@dataclass
class Terms:
    """Links figures to how they are computed, and remembers which were used."""

    used: dict[str, None] = field(default_factory=dict)

    def __call__(self, key: str, words: str | None = None) -> str:
        """A link to an entry. words: what it says, plain text; by default the entry's name."""
        self.used[key] = None
        return f'<a class="term" href="#how-{key}">{html.escape(words or ENTRIES[key].name)}</a>'

    def section(self) -> str:
        """Every entry that was used, in the glossary's own order."""
        say = html.escape
        lines = "".join(
            f'<dt id="how-{key}">{say(entry.name)}</dt><dd>{say(entry.how)}'
            + (f" <cite>{say(entry.source)}</cite>" if entry.source else "")
            + "</dd>"
            for key, entry in ENTRIES.items()
            if key in self.used
        )
        return f"<dl class='how'>{lines}</dl>"
