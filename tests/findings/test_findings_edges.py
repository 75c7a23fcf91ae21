"""What edges add to figures, and how far these would move with other images: against definitions and fresh draws."""

import numpy as np
import pytest

from atlas.findings.edges import Influence, sampling_spread
from atlas.findings.groups import Graph, mixing, tightness

IMAGES, GROUPS = 80, 4


def drawn(seed, images=IMAGES):
    rng = np.random.default_rng(seed)
    return Graph.of(rng.normal(size=(images, 3)).astype(np.float32), 0, k=6), rng.integers(-1, GROUPS, images)


def figures_by_hand(graph, group, weight):
    """Mixing of groups 0 and 1 and tightness of group 2, of edges that count as `weight` (images, 6) says."""
    edges = np.zeros((GROUPS, GROUPS))
    for i, near in enumerate(graph.neighbors):
        for place, j in enumerate(near):
            if group[i] >= 0 and group[j] >= 0:
                edges[group[i], group[j]] += weight[i, place] / len(near)
    return mixing(edges)[0, 1], tightness(edges)[2]


@pytest.mark.parametrize("seed", [0, 1])
def test_what_an_edge_adds_is_the_figure_s_derivative(seed):
    graph, group = drawn(seed)
    told = Influence.of_mixing(graph, group, 0, 1), Influence.of_tightness(graph, group, 2, sign=-1.0)
    for number, (one, sign) in enumerate(zip(told, (1, -1), strict=True)):
        found = {}
        for i, j, value in zip(one.source, one.target, one.value, strict=True):
            found[int(i), int(j)] = value
        for i in range(0, IMAGES, 3):
            for place, j in enumerate(graph.neighbors[i]):
                step = np.ones(graph.neighbors.shape)
                high, low = step.copy(), step.copy()
                high[i, place] += 1e-4
                low[i, place] -= 1e-4
                slope = figures_by_hand(graph, group, high)[number] - figures_by_hand(graph, group, low)[number]
                assert sign * found.get((i, int(j)), 0.0) == pytest.approx(slope / 2e-4, abs=1e-7)


def test_the_variance_is_that_over_pairs_of_edges_that_share_an_image():
    influences = []
    for seed in (2, 3):
        graph, group = drawn(seed, 40)
        influences += [Influence.of_mixing(graph, group, 0, 1), Influence.of_tightness(graph, group, 2, -1.0)]
    pairs: dict[frozenset, float] = {}
    for one in influences:
        for i, j, value in zip(one.source, one.target, one.value, strict=True):
            edge = frozenset((int(i), int(j)))
            pairs[edge] = pairs.get(edge, 0.0) + value
    expected = sum(a * b for p, a in pairs.items() for q, b in pairs.items() if p & q)
    variance, freedom = sampling_spread(influences, 40)
    assert variance == pytest.approx(expected)
    assert 2 <= freedom <= 40


def worlds(seed):
    """Two networks of 300 fresh images of two classes that meet: what images are, and a noise in each network."""
    rng = np.random.default_rng(seed)
    group = np.arange(300) % 2
    images = rng.normal(size=(300, 5)) + 0.8 * group[:, None]
    return group, [Graph.of((images + 0.6 * rng.normal(size=images.shape)).astype(np.float32), 0) for _ in range(2)]


def test_the_variance_is_that_of_fresh_images():
    differences, told = [], []
    for seed in range(300):
        group, (a, b) = worlds(seed)
        one, other = (mixing(graph.edges(group, 2))[0, 1] for graph in (a, b))
        differences.append(other - one)
        terms = [Influence.of_mixing(b, group, 0, 1), Influence.of_mixing(a, group, 0, 1, -1.0)]
        told.append(sampling_spread(terms, 300)[0])
    assert np.sqrt(np.mean(told)) == pytest.approx(np.std(differences), rel=0.12)


def test_what_hangs_on_few_images_is_known_to_few_degrees_of_freedom():
    """A star: all edges meet in one image; a ring: each image has two; and nothing at all."""
    one = np.arange(1, 30)
    star = Influence(np.zeros(29, np.int64), one, np.ones(29))
    ring = Influence(np.arange(30), (np.arange(30) + 1) % 30, np.ones(30))
    assert sampling_spread([star], 30)[1] < 3
    assert sampling_spread([ring], 30) == pytest.approx((4 * 30 - 30, 30))
    nothing = Influence(one, one - 1, np.zeros(29))
    assert sampling_spread([nothing], 30) == (0.0, 2.0)
