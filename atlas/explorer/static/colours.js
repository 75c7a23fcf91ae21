/* Colours of classes and numbers. The ten hues are Petroff's (2021, arXiv 2107.02270), chosen by him to stay apart for
 * readers of any colour vision. There are no more such hues: the classes beyond them repeat them as squares and, paler,
 * as diamonds. */

const HUES = [
  [0x3f, 0x90, 0xda], [0xff, 0xa9, 0x0e], [0xbd, 0x1f, 0x01], [0x94, 0xa4, 0xa2], [0x83, 0x2d, 0xb6],
  [0xa9, 0x6b, 0x59], [0xe7, 0x63, 0x00], [0xb9, 0xac, 0x70], [0x71, 0x75, 0x81], [0x92, 0xda, 0xdd],
];
const SHADES = [[0, 0], [0, 0.3], [255, 0.45]]; // of each round: towards this grey, by this share
const SHAPES = ["disc", "square", "diamond"]; // of each round
const UNKNOWN = [0x8a, 0x8f, 0x98];
const RIGHT = [0x3f, 0x90, 0xda];
const WRONG = [0xe7, 0x63, 0x00];
const FOR = [0x1f, 0x6f, 0xc4];
const AGAINST = [0xd0, 0x5a, 0x0a];
// Low, middle, high confidence: one hue from pale to dark, read without colour vision.
const RAMP = [[0xf2, 0xc9, 0x4c], [0xc2, 0x5b, 0x56], [0x3b, 0x1c, 0x62]];
const RAMP_ON_DARK = [...RAMP.slice(0, 2), [0x8f, 0x6c, 0xd8]]; // on a dark page the end would be lost
const darkQuery = window.matchMedia("(prefers-color-scheme: dark)");

function classColour(index) {
  if (index < 0) return UNKNOWN;
  const [towards, share] = SHADES[Math.floor(index / HUES.length) % SHADES.length];
  return HUES[index % HUES.length].map((value) => Math.round(value + (towards - value) * share));
}

/** Index into SHAPES of a class's dots and swatches. */
const classShape = (index) => (index < 0 ? 0 : Math.floor(index / HUES.length) % SHAPES.length);

/** The mark of a class in lists and legends. */
const classSwatch = (index) => h("span", { class: `swatch ${SHAPES[classShape(index)]}`, style: { background: css(classColour(index)) } });

function rampColour(share) {
  const ramp = darkQuery.matches ? RAMP_ON_DARK : RAMP;
  const at = Math.min(1, Math.max(0, share)) * (ramp.length - 1);
  const low = Math.min(ramp.length - 2, Math.floor(at));
  return ramp[low].map((value, i) => Math.round(value + (ramp[low + 1][i] - value) * (at - low)));
}

const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;

/** Colour modes of a layer, in the order of the menu: [value, words]. */
function colourModes(header, layer) {
  const modes = [];
  if (header.labelled) modes.push(["label", "Label"]);
  if (header.predicted) modes.push(["prediction", "Prediction"]);
  if (header.labelled && header.predicted && header.aligned) modes.push(["correct", "Correct or wrong"]);
  if (header.predicted) modes.push(["confidence", "Confidence"]);
  if (layer.levels.length > 0) modes.push(["density", "Density"]);
  if (layer.levels.some(({ icons }) => icons > 0)) modes.push(["trust", "Trust in icons"]);
  if (layer.kept) modes.push(["kept", "Trust in the map"]);
  if (layer.effects) modes.push(["effect", "Effect"]);
  header.columns.forEach(({ name }, index) => modes.push([`column${index}`, name]));
  modes.push(["plain", "One colour"]);
  return modes;
}

/** Modes that colour cells: their frames on the map, and the samples in them. */
const CELL_MODES = ["density", "trust", "kept", "effect"];

/** The colour of a cell's value: 0 to 1 on the ramp, an effect from against (orange) through pale to for (blue). pale
 * is the page's: a white frame around nothing would shout from a dark page. */
function valueColour(mode, value, pale) {
  if (mode !== "effect") return rampColour(value);
  const full = value < 0 ? AGAINST : FOR;
  return pale.map((from, i) => Math.round(from + (full[i] - from) * Math.min(1, Math.abs(value))));
}

/** The index of the user's column that a mode is about, null for none. */
const columnOf = (mode) => (mode.startsWith("column") ? Number(mode.slice(6)) : null);

/** Each sample's group (an index, -1 unknown), the groups' names and colours. cells: {table, values} of a cell mode;
 * codes: each image's code in the user's column, null while they are on their way. pale: see valueColour. */
function groupPoints(header, points, mode, cells, codes, pale) {
  const { label, prediction, confidence } = points;
  if (mode === "label") return { group: label, name: (i) => header.classes[i] ?? "no label", colour: classColour, shape: classShape };
  if (mode === "prediction") {
    return { group: prediction, name: (i) => header.outputs[i] ?? "no prediction", colour: classColour, shape: classShape };
  }
  if (mode === "correct") {
    const group = label.map((value, i) => (value < 0 || prediction[i] < 0 ? -1 : Number(value !== prediction[i])));
    return { group, name: (i) => ["correct", "wrong"][i] ?? "unknown", colour: (i) => [RIGHT, WRONG][i] ?? UNKNOWN };
  }
  if (mode === "confidence") {
    const group = Int32Array.from(confidence, (value) => (value === UNKNOWN_PERCENT ? -1 : Math.min(9, Math.floor(value / 10))));
    const name = (i) => (i < 0 ? "unknown" : `${i * 10} to ${i * 10 + 10} %`);
    return { group, name, colour: (i) => (i < 0 ? UNKNOWN : rampColour((i + 0.5) / 10)), ordered: true };
  }
  if (columnOf(mode) !== null) return groupByColumn(header.columns[columnOf(mode)], points, codes);
  if (CELL_MODES.includes(mode)) return groupByCell(points, mode, cells, pale);
  return { group: new Int32Array(label.length), name: () => "samples", colour: () => HUES[0] };
}

function groupByColumn({ categories, scale, words }, { image }, codes) {
  const group = Int32Array.from(image, (index) => (codes === null || codes[index] === UNKNOWN_CODE ? -1 : codes[index]));
  if (scale === null) return { group, name: (i) => categories[i] ?? "no value", colour: classColour, shape: classShape };
  const [low, high] = scale.map((end) => (words ? 100 * end : end)); // what says what it means is a share
  const unit = words ? "\u00a0%" : "";
  const decimals = low === high ? 6 : Math.min(20, Math.max(0, 1 - Math.floor(Math.log10((high - low) / 10)))); // two digits of a step
  const edge = (i) => (low + (i / 10) * (high - low)).toLocaleString("en", { maximumFractionDigits: decimals });
  const step = (i) => (i === 0 ? `below ${edge(1)}${unit}` : i === 9 ? `${edge(9)}${unit} and more` : `${edge(i)} to ${edge(i + 1)}${unit}`);
  const name = (i) => (i < 0 ? "no value" : low === high ? `${edge(0)}${unit}` : step(i));
  // Few values are possible: steps that no sample is in are a part of the one beneath, and the legend has no gaps.
  const between = (i, above) => (i > 0 && above - 1 > i ? `${edge(i)} to ${edge(above)}${unit}` : i === 0 && above > 1 ? `below ${edge(above)}${unit}` : name(i));
  return { group, name, between, colour: (i) => (i < 0 ? UNKNOWN : rampColour((i + 0.5) / 10)), ordered: true };
}

/** Ten steps of the values of the samples' cells; all unknown while the cells are on their way. */
function groupByCell(points, mode, cells, pale) {
  const lowest = mode === "effect" ? -1 : 0;
  const group = new Int32Array(points.length).fill(-1);
  for (let i = 0; cells !== null && i < points.length; i++) {
    const cell = cells.table.at(points.x[i], points.y[i]);
    const value = cell < 0 ? NaN : cells.values[cell];
    if (!Number.isNaN(value)) group[i] = Math.min(9, Math.max(0, Math.floor(((value - lowest) / (1 - lowest)) * 10)));
  }
  const middle = (i) => lowest + ((i + 0.5) / 10) * (1 - lowest);
  return { group, name: (i) => (i < 0 ? "unknown" : String(i)), colour: (i) => (i < 0 ? UNKNOWN : valueColour(mode, middle(i), pale)), ordered: true, scale: true };
}
