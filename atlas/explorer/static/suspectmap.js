/* Suspects on the map: the cells that hold most of each one's samples, outlined at every level, under its number. */

/** Width and dashes of an outline: told apart without colour, too. */
const SUSPECT_LINES = { poor: [2.4, []], fair: [1.9, [7, 4]], good: [1.6, [1.5, 4.5]] };

class SuspectMap {
  constructor(header, shards) {
    Object.assign(this, { header, shards });
    this.opened = new WeakMap(); // shard -> samples' places
    this.outlines = new WeakMap(); // squares -> {edges around them, the corner for the number}
  }

  /** Where the suspects lie on a layer: [{x, y, squares, view}], null while it is on its way. */
  of(layer) {
    const shard = this.shards.get(`outlined/${layer}`);
    if (!shard) return null;
    if (!this.opened.has(shard)) {
      const places = (text) => Float32Array.from(unpack(text, Uint16Array), (value) => value / 65535);
      this.opened.set(shard, shard.suspects.map(({ x, y, ...rest }) => ({ x: places(x), y: places(y), ...rest })));
    }
    return this.opened.get(shard);
  }

  /** What is drawn on a map: [{index, tone, open, edges: [[x0, y0, x1, y1]], corner: [x, y]}], the open one last. */
  shown(pane) {
    const { state, suspectMarks } = this.header.suspects === null ? {} : pane.explorer;
    if (!state || (!state.outlines && state.suspect === null)) return [];
    const places = this.of(pane.layer);
    const { level } = pane;
    if (places === null || level === null) return [];
    const all = places.map(({ squares }, index) => {
      const of = squares[level.level] ?? [];
      const suspect = this.header.suspects.listed[index];
      return { index, tone: suspectTone(suspect, suspectMarks.of(suspect)), open: state.suspect === index, ...this._shapeOf(of, level.side) };
    });
    const drawn = all.filter(({ open, edges }) => edges.length > 0 && (open || state.outlines));
    return drawn.sort((a, b) => Number(a.open) - Number(b.open) || b.index - a.index);
  }

  _shapeOf(squares, side) {
    if (!this.outlines.has(squares)) this.outlines.set(squares, { edges: edgesAround(squares, side), corner: topLeft(squares, side) });
    return this.outlines.get(squares);
  }

  /** Paint outlines, the open one's samples, and the numbers; remembers where the numbers are. */
  paint(pane, context, ratio, theme) {
    const shown = this.shown(pane);
    pane.badges = [];
    const open = shown.find((one) => one.open);
    for (const one of shown) {
      context.globalAlpha = open && !one.open ? 0.4 : 1; // while one is looked at, the others step back
      strokeEdges(context, one.edges, pane.view, ratio, theme, one.tone, one.open);
    }
    context.globalAlpha = 1;
    if (open) this._paintSamples(pane, context, ratio, theme, open);
    for (const one of shown) this._paintBadge(pane, context, ratio, theme, one);
  }

  _paintSamples(pane, context, ratio, theme, { index, tone }) {
    const { x, y } = this.of(pane.layer)[index];
    const { view } = pane;
    const radius = 0.17 * theme.em * ratio;
    context.beginPath();
    x.forEach((one, i) => {
      const [px, py] = [view.screenX(one) * ratio, view.screenY(y[i]) * ratio];
      context.moveTo(px + radius, py);
      context.arc(px, py, radius, 0, 2 * Math.PI);
    });
    Object.assign(context, { fillStyle: theme.tones[tone], strokeStyle: theme.ground, lineWidth: 2 * ratio });
    context.stroke();
    context.fill();
  }

  _paintBadge(pane, context, ratio, theme, { index, tone, open, corner: [x, y] }) {
    const { view } = pane;
    const radius = (open ? 0.85 : 0.7) * theme.em;
    let [px, py] = [view.screenX(x), view.screenY(y)];
    while (pane.badges.some((other) => Math.hypot(other.px - px, other.py - py) < other.radius + radius)) px += radius;
    pane.badges.push({ px, py, radius, index });
    context.beginPath();
    context.arc(px * ratio, py * ratio, radius * ratio, 0, 2 * Math.PI);
    Object.assign(context, { fillStyle: theme.tones[tone], strokeStyle: theme.ground, lineWidth: 2.5 * ratio });
    context.stroke();
    context.fill();
    Object.assign(context, { fillStyle: theme.ground, font: `700 ${0.85 * theme.em * ratio}px system-ui, sans-serif`, textAlign: "center", textBaseline: "middle" });
    context.fillText(String(index + 1), px * ratio, py * ratio);
  }

  /** The same, but for the samples, as SVG elements. */
  shapes(pane, theme) {
    const { view } = pane;
    const at = (x, y) => `${view.screenX(x).toFixed(1)} ${view.screenY(y).toFixed(1)}`;
    return this.shown(pane).flatMap(({ index, tone, edges, open }) => {
      const [width, dashes] = SUSPECT_LINES[tone];
      const d = edges.map(([ax, ay, bx, by]) => `M${at(ax, ay)}L${at(bx, by)}`).join("");
      const line = svg("path", { d, fill: "none", stroke: theme.tones[tone], "stroke-width": open ? width + 1.2 : width, "stroke-linecap": "round", "stroke-dasharray": dashes.join(" ") || "none" });
      const { px, py, radius } = pane.badges.find((badge) => badge.index === index);
      const disc = svg("circle", { cx: px.toFixed(1), cy: py.toFixed(1), r: radius, fill: theme.tones[tone], stroke: theme.ground, "stroke-width": 2 });
      const look = { x: px.toFixed(1), y: py.toFixed(1), "text-anchor": "middle", "dominant-baseline": "central", "font-family": "system-ui, sans-serif", "font-weight": 700, "font-size": 0.85 * theme.em, fill: theme.ground };
      return [line, disc, svg("text", look, String(index + 1))];
    });
  }

  /** The suspect whose number is at a place of a map's frame, -1 where none is. */
  at(pane, { x, y }) {
    return (pane.badges ?? []).findLast(({ px, py, radius }) => Math.hypot(px - x, py - y) <= radius + 2)?.index ?? -1;
  }
}

/** The edges around the union of a grid's squares [column, row, column, row, ...], in the unit square. */
function edgesAround(squares, side) {
  const has = new Set();
  for (let i = 0; i < squares.length; i += 2) has.add(squares[i + 1] * (side + 1) + squares[i]);
  const inside = (column, row) => column >= 0 && column < side && has.has(row * (side + 1) + column);
  const edges = [];
  for (let i = 0; i < squares.length; i += 2) {
    const [column, row] = [squares[i], squares[i + 1]];
    const [left, bottom, right, top] = [column, row, column + 1, row + 1].map((value) => value / side);
    if (!inside(column - 1, row)) edges.push([left, bottom, left, top]);
    if (!inside(column + 1, row)) edges.push([right, bottom, right, top]);
    if (!inside(column, row - 1)) edges.push([left, bottom, right, bottom]);
    if (!inside(column, row + 1)) edges.push([left, top, right, top]);
  }
  return edges;
}

/** The top left corner, [x, y] in the unit square, of the squares that hang together with the first. */
function topLeft(squares, side) {
  const left = new Set();
  for (let i = 0; i < squares.length; i += 2) left.add(squares[i + 1] * side + squares[i]);
  const found = [];
  const next = squares.length > 0 ? [[squares[0], squares[1]]] : [];
  while (next.length > 0) {
    const [column, row] = next.pop();
    if (column < 0 || column >= side || !left.delete(row * side + column)) continue;
    found.push([column, row]);
    next.push([column - 1, row], [column + 1, row], [column, row - 1], [column, row + 1]);
  }
  const [column, row] = found.reduce((best, one) => (one[1] > best[1] || (one[1] === best[1] && one[0] < best[0]) ? one : best), [0, -1]);
  return [column / side, (row + 1) / side];
}

function strokeEdges(context, edges, view, ratio, theme, tone, open) {
  const path = new Path2D();
  for (const [ax, ay, bx, by] of edges) {
    path.moveTo(view.screenX(ax) * ratio, view.screenY(ay) * ratio);
    path.lineTo(view.screenX(bx) * ratio, view.screenY(by) * ratio);
  }
  const [width, dashes] = SUSPECT_LINES[tone];
  const wide = open ? width + 1.2 : width;
  Object.assign(context, { lineCap: "round", strokeStyle: theme.ground, lineWidth: (wide + 2.8) * ratio });
  context.stroke(path);
  context.setLineDash(dashes.map((length) => length * ratio));
  Object.assign(context, { strokeStyle: theme.tones[tone], lineWidth: wide * ratio });
  context.stroke(path);
  context.setLineDash([]);
}
