/* Names of classes on the map: each at the densest place of its samples in view, none over another. */

const NAME_SQUARE_PX = 72;
const MOST_NAMES = 24;
const FEWEST_SHARE = 0.4; // of the samples at a place, for a class's name to be true of it
const FEWEST_SAMPLES = 8;

/** Squares a side of the unit square in which names are counted, a power of two: names stay while the map is moved. */
const nameSquares = (view) => 2 ** Math.max(0, Math.round(Math.log2(view.scale / NAME_SQUARE_PX)));

/** The part of the map whose names are placed at once, in steps of half a window: a pan within it places none anew. */
function nameWindow(view) {
  const { x_range: xs, y_range: ys } = view.figure;
  const around = ({ start, end }) => {
    const step = 2 ** Math.ceil(Math.log2((end - start) / 2));
    return [Math.floor(start / step) * step, Math.ceil(end / step) * step];
  };
  return [...around(xs), ...around(ys)];
}

/** [{name, x, y}] in a window of the unit square, places with the most samples of a class first; many for a class. */
function placesOfNames(points, header, side, [left, right, bottom, top]) {
  const of = header.labelled ? points.label : points.prediction;
  const names = filteredNames(header);
  if (names.length === 0) return [];
  const squares = new Map(); // square -> samples
  const ofClass = new Map(); // class * squares + square -> {samples, x, y}
  for (let i = 0; i < points.length; i++) {
    const [x, y] = [points.x[i], points.y[i]];
    if (!points.live[i] || x < left || x > right || y < bottom || y > top) continue;
    const square = squareAt(x, y, side);
    squares.set(square, (squares.get(square) ?? 0) + 1);
    if (of[i] < 0) continue;
    const key = of[i] * side * side + square;
    const own = ofClass.get(key) ?? { index: of[i], square, samples: 0, x: 0, y: 0 };
    own.samples++;
    own.x += x;
    own.y += y;
    ofClass.set(key, own);
  }
  return [...ofClass.values()]
    .filter(({ samples, square }) => samples >= FEWEST_SAMPLES && samples >= FEWEST_SHARE * squares.get(square))
    .sort((a, b) => b.samples - a.samples)
    .map(({ index, samples, x, y }) => ({ name: names[index], x: x / samples, y: y / samples }));
}

/** Each class's first place in view, those that find room, greedily: [{text, px, py, width, height}] in CSS pixels, middles.
 * kept: boxes of the same form to keep off. */
function fittingNames(places, view, measure, height, kept) {
  const taken = [];
  const named = new Set();
  for (const { name, x, y } of places) {
    if (taken.length >= MOST_NAMES) break;
    const text = name.length > 28 ? `${name.slice(0, 27)}…` : name;
    const width = measure(text) + 12;
    const { width: wide, height: high } = view.size;
    const [at, from] = [view.screenX(x), view.screenY(y)];
    if (named.has(name) || at < 0 || from < 0 || at > wide || from > high) continue;
    named.add(name);
    const px = Math.min(Math.max(at, width / 2 + 4), wide - width / 2 - 4);
    const py = Math.min(Math.max(from, height / 2 + 4), high - height / 2 - 4);
    const free = [...taken, ...kept].every((other) => Math.abs(other.px - px) > (other.width + width) / 2 || Math.abs(other.py - py) > (other.height + height) / 2);
    if (free) taken.push({ text, px, py, width, height });
  }
  return taken;
}

/** Paint names onto a context in device pixels. */
function paintNames(context, names, ratio, { ink, paper }) {
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const { text, px, py, height } of names) {
    context.font = `600 ${height * 0.68 * ratio}px system-ui, sans-serif`;
    context.lineWidth = height * 0.24 * ratio;
    context.strokeStyle = paper;
    context.fillStyle = ink;
    context.strokeText(text, px * ratio, py * ratio);
    context.fillText(text, px * ratio, py * ratio);
  }
}
