"""The entity graph as a picture: communities by Leiden, the largest drawn as circles, their main entities inside.

Two entities are linked when units mention both; the weight is the cosine of their mentions, n_ab / sqrt(n_a n_b), so that an
entity that is everywhere binds nothing. Communities: Leiden (Traag, Waltman, van Eck 2019) on modularity, by igraph. Circles are
placed largest first, each beside what is placed, nearest to what it is linked with: neither circles nor names overlap, and the same
graph gives the same picture. Linear in the edges, cubic in the circles drawn (at most two dozen).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import igraph
import numpy as np

SHOWN = 14
MEMBERS = 7
NAMED = 3
STRONGEST, WEAKEST = 2, 0.04  # bands of a circle; the width of one, the widest being 1
SMALLEST = 3  # entities; fewer are no community
WIDTH, EDGE, GAP = 1040.0, 10.0, 16.0
SMALL, LARGE = 22.0, 78.0  # radii
LETTER, LABEL = 7.4, 40.0  # width of a letter, height of the two lines below a circle
ANGLES, RINGS = 48, 4


@dataclass(frozen=True)
class Node:
    """An entity in the graph."""

    name: str
    kind: str
    namespace: str
    mentions: int


@dataclass(frozen=True)
class Dot:
    """An entity inside its community's circle."""

    x: float
    y: float
    r: float
    name: str


@dataclass(frozen=True)
class Circle:
    """A community: named after its most mentioned entities."""

    x: float
    y: float
    r: float
    names: list[str]
    members: list[Node]
    size: int
    mentions: int
    namespaces: list[str]
    dots: list[Dot]


@dataclass(frozen=True)
class Band:
    """How strongly two communities are linked: width 0..1."""

    a: int
    b: int
    x1: float
    y1: float
    x2: float
    y2: float
    weight: float


@dataclass(frozen=True)
class Picture:
    """Circles, bands between them, and what was left out."""

    circles: list[Circle]
    bands: list[Band]
    width: float
    height: float
    entities: int
    links: int
    communities: int
    everywhere: list[str]


def draw(nodes: Sequence[Node], pairs: np.ndarray, counts: np.ndarray, everywhere: Sequence[str] = ()) -> Picture:
    """The picture of a graph. pairs: int [m, 2] into `nodes`; counts [m]: units that mention both."""
    mentions = np.array([max(node.mentions, 1) for node in nodes], float)
    weights = counts / np.sqrt(mentions[pairs[:, 0]] * mentions[pairs[:, 1]]) if len(pairs) else np.zeros(0)
    groups = [g for g in _leiden(len(nodes), pairs, weights) if len(g) >= SMALLEST]
    groups.sort(key=lambda g: (-len(g), -mentions[g].sum(), min(g)))
    shown = groups[:SHOWN]
    between = _between(shown, len(nodes), pairs, weights)
    most = math.sqrt(len(shown[0])) if shown else 1.0
    radii = [SMALL + (LARGE - SMALL) * math.sqrt(len(g)) / most for g in shown]
    ranked = [sorted((nodes[m] for m in g), key=lambda n: (-n.mentions, n.name)) for g in shown]
    places = _pack(radii, [_label_width(members) for members in ranked], between)
    places, width, height = _fit(places, radii, [_label_width(members) for members in ranked])
    circles = [_circle(members, x, y, r) for members, (x, y), r in zip(ranked, places, radii, strict=True)]
    bands = _bands(circles, between)
    return Picture(circles, bands, width, height, len(nodes), len(pairs), len(groups), list(everywhere))


def _leiden(n: int, pairs: np.ndarray, weights: np.ndarray) -> list[list[int]]:
    graph = igraph.Graph(n=n, edges=pairs.tolist())
    igraph.set_random_number_generator(random.Random(0))
    try:
        found = graph.community_leiden("modularity", weights=weights.tolist() or None, n_iterations=10)
    finally:
        igraph.set_random_number_generator(random)
    return [list(members) for members in found]


def _between(groups: list[list[int]], n: int, pairs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum of weights between groups [g, g], for their sizes, scaled to at most 1."""
    group_of = np.full(n, -1)
    for number, members in enumerate(groups):
        group_of[members] = number
    out = np.zeros((len(groups), len(groups)))
    a, b = (group_of[pairs[:, 0]], group_of[pairs[:, 1]]) if len(pairs) else (np.zeros(0, int), np.zeros(0, int))
    met = (a >= 0) & (b >= 0) & (a != b)
    np.add.at(out, (a[met], b[met]), weights[met])
    out += out.T
    sizes = np.sqrt([len(g) for g in groups])
    out /= np.maximum(np.outer(sizes, sizes), 1)
    return out / out.max() if out.size and out.max() > 0 else out


def _label_width(members: Sequence[Node]) -> float:
    """Of the longer of the two lines below a circle."""
    return LETTER * min(max(len(members[0].name), len(", ".join(n.name for n in members[1:NAMED]))), 30)


def _pack(radii: list[float], labels: list[float], pull: np.ndarray) -> list[tuple[float, float]]:
    """A place for each circle: beside one that is placed, clear of all, nearest to the ones that pull it. Wider than high."""
    places: list[tuple[float, float]] = []
    for i, r in enumerate(radii):
        spots = [(0.0, 0.0)] if not places else []
        for (x, y), other in zip(places, radii, strict=False):
            for ring in range(RINGS):
                reach = r + other + GAP + ring * LABEL * 0.7
                turns = (2 * math.pi * t / ANGLES for t in range(ANGLES))
                spots += [(x + reach * math.cos(turn), y + reach * math.sin(turn)) for turn in turns]
        free = [s for s in spots if all(_clear(s, r, labels[i], p, radii[j], labels[j]) for j, p in enumerate(places))]
        far = [(max((p[0] for p in places), default=0.0) + 4 * LARGE, 0.0)]
        places.append(min(free or far, key=lambda s: _strain(s, i, places, pull)))
    return places


def _clear(a: tuple[float, float], r: float, wide: float, b: tuple[float, float], q: float, other: float) -> bool:
    """Whether two circles and the names below them keep apart."""
    if math.dist(a, b) < r + q + GAP:
        return False
    mine, theirs = (a[0], a[1] + r, wide / 2), (b[0], b[1] + q, other / 2)
    names = abs(a[0] - b[0]) >= mine[2] + theirs[2] + 6 or abs(mine[1] - theirs[1]) >= LABEL
    return names and not _under(mine, b, q) and not _under(theirs, a, r)


def _under(name: tuple[float, float, float], centre: tuple[float, float], r: float) -> bool:
    """Whether a name (middle, top, half its width) reaches into a circle."""
    x = min(max(centre[0], name[0] - name[2]), name[0] + name[2])
    y = min(max(centre[1], name[1]), name[1] + LABEL)
    return math.hypot(centre[0] - x, centre[1] - y) < r + 3


def _strain(spot: tuple[float, float], i: int, places: list[tuple[float, float]], pull: np.ndarray) -> float:
    centre = math.hypot(spot[0] / 2.2, spot[1])
    return centre + 0.6 * sum(float(pull[i, j]) * math.dist(spot, place) for j, place in enumerate(places))


def _fit(
    places: list[tuple[float, float]], radii: list[float], labels: list[float]
) -> tuple[list[tuple[float, float]], float, float]:
    """Moved so that the picture begins at 0, 0; its width and height."""
    if not places:
        return [], WIDTH, LABEL
    reach = [max(r, label / 2) for r, label in zip(radii, labels, strict=True)]
    left = min(x - w for (x, _), w in zip(places, reach, strict=True)) - EDGE
    right = max(x + w for (x, _), w in zip(places, reach, strict=True)) + EDGE
    top = min(y - r for (_, y), r in zip(places, radii, strict=True)) - EDGE
    bottom = max(y + r for (_, y), r in zip(places, radii, strict=True)) + LABEL + EDGE
    width = max(right - left, WIDTH)
    shift = (width - (right - left)) / 2 - left
    return [(x + shift, y - top) for x, y in places], width, bottom - top


def _circle(ranked: Sequence[Node], x: float, y: float, r: float) -> Circle:
    most = ranked[0].mentions
    dots = []
    for i, node in enumerate(ranked):
        far, turn = (
            math.sqrt((i + 0.5) / len(ranked)) * 0.82,
            i * math.pi * (3 - math.sqrt(5)),
        )  # a sunflower: even density
        size = r * 0.5 * math.sqrt(node.mentions / most / len(ranked)) + 0.8
        dots.append(Dot(x + r * far * math.cos(turn), y + r * far * math.sin(turn), size, node.name))
    return Circle(
        x,
        y,
        r,
        [n.name for n in ranked[:NAMED]],
        list(ranked[:MEMBERS]),
        len(ranked),
        sum(n.mentions for n in ranked),
        sorted({n.namespace for n in ranked}),
        dots,
    )


def _bands(circles: list[Circle], between: np.ndarray) -> list[Band]:
    """Lines from rim to rim: the strongest of each circle, since all of them would be a hairball."""
    strongest = {
        (min(a, b), max(a, b)) for a in range(len(circles)) for b in np.argsort(-between[a], kind="stable")[:STRONGEST]
    }
    found = []
    for a in range(len(circles)):
        for b in range(a + 1, len(circles)):
            weight = float(between[a, b])
            if weight >= WEAKEST and (a, b) in strongest:
                one, other = circles[a], circles[b]
                far = math.dist((one.x, one.y), (other.x, other.y))
                ux, uy = (other.x - one.x) / far, (other.y - one.y) / far
                ends = (one.x + ux * one.r, one.y + uy * one.r, other.x - ux * other.r, other.y - uy * other.r)
                found.append(Band(a, b, *ends, weight))
    return found
