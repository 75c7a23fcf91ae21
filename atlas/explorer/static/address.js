/* The state as an address: what stands behind # in the page's URL, so that a link opened anew shows the same.
 *
 * Only what differs from the first view is written. Reading takes nothing on trust: what is no number, or none that
 * this atlas has, is left out. Names of files and classes never stand in it. */

const SHOWN = ["icons", "pictures", "both"];
const SAMPLES = ["off", "over", "under", "only"];
const GRAIN = 1e4; // places in ten-thousandths of the map: a third of a pixel at the deepest useful zoom
const MOST_CORNERS = 400;

/** The part behind # for a state and a view ({x, y, span}: the middle, and the shorter side's share of the map) of each
 * map, null for one at home. */
function writeAddress(state, view, there, { suspects }) {
  const parts = [];
  const say = (name, value) => parts.push(`${name}=${value}`);
  const { filter } = state;
  if (state.layer !== 0) say("layer", state.layer);
  if (view !== null) say("at", writeView(view));
  if (state.beside !== state.first.beside) say("beside", state.beside ?? "off");
  if (state.beside !== null) {
    if (state.together !== null) say("together", Number(state.together));
    if (there !== null) say("there", writeView(there));
    if (state.pane === 1) say("in", "beside");
  }
  if (state.locked !== null) say("level", state.locked);
  if (state.cells !== "icons") say("show", state.cells);
  if (state.points !== state.first.points) say("samples", state.points);
  if (!state.density) say("size", "full");
  if (!state.names) say("names", "off");
  if (!state.floor) say("floor", "off");
  if (state.colour !== state.first.colour) say("colour", state.colour);
  if (state.effect !== null) say("effect", state.effect);
  if (filter.classes.length > 0) say("class", filter.classes.join(","));
  if (filter.low > 0 || filter.high < 100) say("confidence", `${filter.low},${filter.high}`);
  if (filter.wrong) say("wrong", 1);
  if (filter.images > 1) say("images", filter.images);
  if (filter.change !== null) say("change", filter.change);
  if (filter.columns.length > 0) say("where", filter.columns.map(writeColumn).join(";"));
  if (state.selected !== null) say("cell", [state.selected.level, state.selected.column, state.selected.row].join(","));
  if (state.region.length > 0) say("region", state.region.map(writeOutline).join(";"));
  if (state.suspect !== null) say("suspect", suspects.listed[state.suspect].id);
  if (!state.outlines) say("suspects", "off");
  if (state.walk !== null) say("walk", [state.walk.pane, state.walk.level, writeOutline(state.walk.path)].join(","));
  return parts.join("&");
}

const writeView = ({ x, y, span }) => [x, y, span].map((value) => Number(value.toPrecision(5))).join(",");
const writeColumn = ({ column, codes, low, high }) => `${column}:${codes === undefined ? `${low}..${high}` : codes.join(",")}`;

const writeOutline = (outline) => outline.flat().map((value) => Math.round(value * GRAIN)).join(",");

/** {state, view, there} out of what stands behind #; state holds every field but the colour's first choice, the views
 * of both maps may be null. */
function readAddress(text, header, first) {
  const said = new Map(text.replace(/^#/, "").split("&").map((part) => part.split("=", 2)));
  const numbers = (name, count) => {
    const values = (said.get(name) ?? "").split(",").map(Number);
    return said.has(name) && values.every(Number.isFinite) && (count === undefined || values.length === count) ? values : null;
  };
  const whole = (name, below) => {
    const value = numbers(name, 1)?.[0];
    return Number.isInteger(value) && value >= 0 && value < below ? value : null;
  };
  const one = (name, choices, other) => (choices.includes(said.get(name)) ? said.get(name) : other);
  const layer = whole("layer", header.layers.length) ?? 0;
  const beside = said.has("beside") ? whole("beside", header.layers.length) : first.beside;
  const pane = beside !== null && said.get("in") === "beside" ? 1 : 0;
  const of = header.layers[layer];
  const names = filteredNames(header).length;
  const state = {
    layer,
    beside,
    pane,
    together: said.has("together") ? said.get("together") === "1" : null,
    locked: whole("level", of.levels.length),
    cells: header.pictures ? one("show", SHOWN, "icons") : "icons",
    points: one("samples", SAMPLES, first.points),
    density: said.get("size") !== "full",
    names: said.get("names") !== "off",
    floor: said.get("floor") !== "off",
    colour: one("colour", colourModes(header, of).map(([mode]) => mode), first.colour),
    effect: whole("effect", header.outputs.length),
    filter: {
      classes: (numbers("class") ?? []).filter((index) => Number.isInteger(index) && index >= 0 && index < names),
      ...readConfidence(numbers("confidence", 2)),
      wrong: said.get("wrong") === "1" && header.aligned,
      images: whole("images", 1e9) ?? 1,
      change: whole("change", header.diff?.changes.length ?? 0),
      columns: readColumns(said.get("where"), header),
    },
    selected: readCell(numbers("cell", 3), pane === 1 ? header.layers[beside] : of),
    region: readRegion(said.get("region")),
    suspect: readSuspect(said.get("suspect"), header),
    outlines: said.get("suspects") !== "off",
    walk: readWalk(said.get("walk"), header, [layer, beside]),
  };
  return { state, view: readView(numbers("at", 3)), there: readView(numbers("there", 3)) };
}

const readView = (at) => (at === null || at[2] <= 0 ? null : { x: at[0], y: at[1], span: at[2] });

/** A filter's columns out of "0:1,3;2:0.5..8": a code of a text's values each, or a range of numbers. */
function readColumns(text, header) {
  const found = new Map();
  for (const part of (text ?? "").split(";")) {
    const [, number, wanted] = part.match(/^(\d+):(.+)$/) ?? [];
    const about = header.columns[number];
    if (about === undefined) continue;
    const column = Number(number);
    if (about.scale === null) {
      const codes = [...new Set(wanted.split(",").map(Number))].filter((code) => Number.isInteger(code) && code >= 0 && code < about.categories.length);
      if (codes.length > 0) found.set(column, { column, codes });
    } else {
      const [low, high, ...more] = wanted.split("..").map(Number);
      if (low <= high && more.length === 0) found.set(column, { column, low, high });
    }
  }
  return [...found.values()];
}

/** The suspect of an id: an index would name another one after a new search. */
function readSuspect(id, { suspects }) {
  const index = (suspects?.listed ?? []).findIndex((suspect) => suspect.id === id);
  return index < 0 ? null : index;
}

function readWalk(text, header, layers) {
  const [pane, level] = (text ?? "").split(",", 2).map(Number);
  const layer = header.layers[layers[pane]];
  const [path] = readRegion((text ?? "").split(",").slice(2).join(","), 4);
  return path && layer?.levels.some((one) => one.level === level) ? { pane, level, path } : null;
}

function readConfidence(range) {
  if (range === null || !range.every((value) => value >= 0 && value <= 100) || range[0] > range[1]) return { low: 0, high: 100 };
  return { low: range[0], high: range[1] };
}

function readCell(cell, layer) {
  const level = cell && layer.levels.find((one) => one.level === cell[0]);
  const inside = (value) => Number.isInteger(value) && value >= 0 && value < level.side;
  return level && inside(cell[1]) && inside(cell[2]) ? { level: cell[0], column: cell[1], row: cell[2] } : null;
}

/** Outlines of at least half as many corners as `fewest` numbers; none where any is unsound. */
function readRegion(text, fewest = 6) {
  if (!text) return [];
  const outlines = text.split(";").map((outline) => outline.split(",").map((value) => Number(value) / GRAIN));
  const sound = (outline) => outline.length >= fewest && outline.length % 2 === 0 && outline.every((value) => Math.abs(value) <= 2);
  const corners = outlines.reduce((sum, { length }) => sum + length, 0) / 2;
  if (!outlines.every(sound) || corners > MOST_CORNERS) return [];
  return outlines.map((outline) => Array.from({ length: outline.length / 2 }, (_, i) => [outline[2 * i], outline[2 * i + 1]]));
}

/** Keeps the page's URL and the state alike: a step the user took is a step for the back button, a pan is not. */
class AddressBar {
  /** read(): the present text; took(text): the address was changed from outside. A notebook's frame has none. */
  constructor(header, took) {
    this.usable = header.home !== "notebook";
    this.steps = null;
    if (!this.usable) return;
    const outside = () => {
      if (this.text !== this.written) {
        this.written = this.text;
        took(this.text);
      }
    };
    window.addEventListener("popstate", outside);
    window.addEventListener("hashchange", outside);
    this.written = this.text;
  }

  get text() {
    return window.location.hash.slice(1);
  }

  /** Write an address a moment later. step: what of the state is a step; a change of it makes a new entry. */
  write(text, step) {
    if (!this.usable) return;
    this.steps ??= step; // the state in which the page was opened
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this._write(text, step), 250);
  }

  _write(text, step) {
    const entry = step !== this.steps ? "pushState" : "replaceState";
    this.steps = step;
    if (text === this.written) return;
    this.written = text;
    window.history[entry](null, "", text === "" ? window.location.pathname + window.location.search : `#${text}`);
  }
}
