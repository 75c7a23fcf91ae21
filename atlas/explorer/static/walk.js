/* A walk over the map: the icons along a drawn path, with classes and effects as curves beneath. */

const MOST_STEPS = 40;
const CURVES = 4;
const CURVE_HEIGHT = 46;

class Walk {
  /** actions: {close(), point(found | null), open(found)} */
  constructor(header, shards, tiles, actions) {
    Object.assign(this, { header, shards, tiles, actions });
    this.element = h("section", { class: "walk", hidden: true, "aria-label": "Walk" });
    this.steps = [];
  }

  /** Show a walk {pane, level, path of [x, y]} of the state through a level of one of the maps, or none. */
  show(walk, panes) {
    const level = walk && panes[walk.pane].about?.levels.find((one) => one.level === walk.level);
    if (!level) {
      if (this.isOpen) this._close();
      return;
    }
    const pane = panes[walk.pane];
    Object.assign(this, { path: walk.path, pane: walk.pane, layer: pane.layer, level, find: (x, y) => pane.cellAt(level, x, y) });
    this.element.hidden = false;
    this.refresh();
  }

  _close() {
    this.actions.point(null);
    this.path = null;
    this.element.hidden = true;
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** Take the steps again: more tiles or details may have come. */
  refresh() {
    if (!this.isOpen) return;
    const finest = alongPath(this.path, 400).map((place) => ({ ...place, found: this.find(place.x, place.y) }));
    const cells = finest.filter(({ found }, i) => found !== null && found.slot !== undefined && !(i > 0 && isSameCell(found, finest[i - 1].found)));
    const every = Math.ceil(cells.length / MOST_STEPS);
    this.steps = cells.filter((_, i) => i % every === 0).map((step) => ({ ...step, detail: this._detail(step.found) }));
    const stamp = JSON.stringify(this.steps.map(({ found, detail }) => [found.tile.key, found.slot, detail !== null, this._ready(found)]));
    if (stamp === this.stamp && this.element.childElementCount > 0) return;
    this.stamp = stamp;
    this._build(every);
  }

  _ready(found) {
    const sheet = found.cell.icon ? this.tiles.iconSheet(found.tile, found.layer) : found.cell.real ? this.tiles.realSheet(found.tile, found.layer) : { image: null };
    return sheet !== null;
  }

  _detail({ tile, slot }) {
    return this.shards.get(`detail/${tile.key}`)?.cells[slot] ?? null;
  }

  _build(every) {
    const close = h("button", { class: "close", "aria-label": "End the walk", title: "End the walk (Esc)", click: () => this.actions.close() }, "×");
    const { steps } = this;
    if (steps.length < 2) {
      this.element.replaceChildren(close, h("p", { class: "quiet" }, "This path crosses fewer than two cells: draw a longer one, or zoom in."));
      return;
    }
    const icons = steps.map(({ found }) =>
      h(
        "button",
        { class: "step", title: titleOf(found.cell, this.header), pointerenter: () => this.actions.point(found), focus: () => this.actions.point(found), pointerleave: () => this.actions.point(null), click: () => this.actions.open(found) },
        cellPicture(found, this.tiles, 4),
      ),
    );
    const heading = `${counted(steps.length, "cell")} along the walk${every > 1 ? `, every ${every}th` : ""}`;
    const labels = this._curves("Share of a cell's images", this._labelSeries(), (value) => percent(value), 1);
    const series = this._effectSeries();
    const most = Math.max(1e-9, ...series.flatMap(({ values }) => values.map((value) => Math.abs(value ?? 0))));
    const effects = this._curves("Effect on the logit", series, signed, most, -most);
    this.element.replaceChildren(close, h("h3", {}, heading), h("div", { class: "scroller" }, h("div", { class: "strip" }, icons), labels, effects));
  }

  _labelSeries() {
    const totals = new Map();
    const shares = this.steps.map(({ found: { cell } }) => {
      const own = new Map();
      for (let i = 0; i < cell.labels.length; i += 2) own.set(cell.labels[i], cell.labels[i + 1] / cell.images);
      for (const [index, share] of own) totals.set(index, (totals.get(index) ?? 0) + share);
      return own;
    });
    const most = [...totals].sort((a, b) => b[1] - a[1]).slice(0, CURVES);
    return most.map(([index]) => ({ name: this.header.classes[index], ...lineOf(index), values: shares.map((own) => own.get(index) ?? 0) }));
  }

  _effectSeries() {
    const listed = this.steps.map(({ detail }) => (detail === null ? null : new Map(detail.effects)));
    const spread = new Map();
    for (const effects of listed) {
      for (const [output, value] of effects ?? []) {
        const [low, high] = spread.get(output) ?? [Infinity, -Infinity];
        spread.set(output, [Math.min(low, value ?? 0), Math.max(high, value ?? 0)]);
      }
    }
    // The classes whose effect changes most on the way: they say what turns into what.
    const moving = [...spread].sort((a, b) => b[1][1] - b[1][0] - (a[1][1] - a[1][0])).slice(0, CURVES);
    return moving.map(([output]) => ({ name: this.header.outputs[output], ...lineOf(output), values: listed.map((effects) => effects?.get(output) ?? null) }));
  }

  _curves(title, series, words, high, low = 0) {
    if (series.length === 0) return "";
    const width = this.steps.length;
    const y = (value) => CURVE_HEIGHT - ((value - low) / (high - low)) * CURVE_HEIGHT;
    const lines = series.map(({ name, colour, dash, values }) => {
      const points = values.map((value, i) => (value === null ? null : `${i + 0.5},${y(value).toFixed(2)}`)).filter(Boolean);
      const line = svg("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash, "vector-effect": "non-scaling-stroke" });
      line.append(svg("title", {}, `${name}: ${values.map((value) => (value === null ? "–" : words(value))).join(", ")}`));
      return line;
    });
    const zero = low < 0 ? svg("line", { x1: 0, x2: width, y1: y(0), y2: y(0), class: "zero", "vector-effect": "non-scaling-stroke" }) : "";
    const sample = (colour, dash) => svg("svg", { class: "sample", viewBox: "0 0 24 4" }, svg("line", { x1: 0, x2: 24, y1: 2, y2: 2, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
    const keys = series.map(({ name, colour, dash }) => h("span", { class: "key" }, sample(colour, dash), name));
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${CURVE_HEIGHT}`, preserveAspectRatio: "none", style: `width: ${4.4 * width}em; height: ${CURVE_HEIGHT}px` }, zero, ...lines);
    return h("div", { class: "curves" }, h("h4", {}, `${title}, ${words(low)} to ${words(high)}`, h("span", { class: "keys" }, keys)), drawing);
  }
}

const DASHES = ["none", "6 3", "2 3"]; // by shape: classes of one hue differ in it

/** How a class is drawn as a line. */
const lineOf = (index) => ({ colour: css(classColour(index)), dash: DASHES[classShape(index)] });

const isSameCell = (a, b) => a !== null && b !== null && a.tile.key === b.tile.key && a.slot === b.slot;

/** An SVG element with attributes and children. */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== ""));
  return element;
}
