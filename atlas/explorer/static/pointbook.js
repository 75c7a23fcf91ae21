/* Which samples are in the page: the slices and tiles of them (see points.py) that the view can hold, at most
 * header.maxPoints. The whole map is thinned evenly; a corner of it shows every sample. */

const COVER_MARGIN = 0.3; // of the view on each side: a pan within it asks for nothing
const DENSITY_SIDE = 256;

const POINT_COLUMNS = {
  row: Uint32Array, x: Uint16Array, y: Uint16Array, image: Uint32Array,
  label: Int32Array, prediction: Int32Array, confidence: Uint8Array,
};

const tilesOfSlice = (slice) => 2 ** Math.ceil(slice / 2);

class PointBook {
  constructor(header, shards, layer) {
    Object.assign(this, { header, shards, layer });
    this.ends = header.layers[layer].ends;
    this.total = this.ends.at(-1);
    this.opened = new WeakMap(); // shard -> columns
    this.cover = null;
    this.points = null;
    this.stamp = "";
  }

  /** Whether the page holds every sample of the layer at once. */
  get whole() {
    return this.ends.length === 1;
  }

  /** The samples to draw for a view, a PointLayer, or null while the first of them are on their way. */
  forView(view) {
    this._recover(view);
    const wanted = this._slicesFor(this.cover);
    const parts = [];
    let used = -1;
    for (let slice = 0; slice <= wanted; slice++) {
      const shards = this._tiles(slice, this.cover).map((key) => this.shards.get(key));
      if (shards.some((shard) => shard === undefined || shard === null)) break;
      parts.push(...shards);
      used = slice;
    }
    const stamp = `${used}/${this.cover.join(",")}`;
    if (used >= 0 && stamp !== this.stamp) {
      this.stamp = stamp;
      this.points = new PointLayer(joinColumns(parts.map((part) => this._open(part)), this.whole ? null : this.cover));
      this.points.share = this.ends[used] / this.total;
      this.points.area = boxArea(this.cover);
    }
    return this.points;
  }

  /** Every sample within [left, bottom, right, top] as columns, or null while some are on their way. */
  within(box) {
    const parts = [];
    let missing = false;
    for (let slice = 0; slice < this.ends.length; slice++) {
      for (const key of this._tiles(slice, box)) {
        const shard = this.shards.get(key);
        if (shard === undefined) missing = true;
        else if (shard !== null) parts.push(this._open(shard));
        else this.incomplete = true;
      }
    }
    return missing ? null : joinColumns(parts, box);
  }

  /** How many samples fall into a box, from the density grid: exact but for its edges. */
  countWithin([left, bottom, right, top]) {
    const counts = this.density();
    if (counts === null) return this.total;
    const at = (value) => Math.min(DENSITY_SIDE - 1, Math.max(0, Math.floor(value * DENSITY_SIDE)));
    let sum = 0;
    for (let row = at(bottom); row <= at(top); row++) {
      for (let column = at(left); column <= at(right); column++) sum += counts[row * DENSITY_SIDE + column];
    }
    return sum;
  }

  /** Samples by square of a grid, row 0 at the bottom; null while on its way. */
  density() {
    const shard = this.shards.get(`density/${this.layer}`);
    if (!shard) return null;
    if (!this.opened.has(shard)) this.opened.set(shard, unpack(shard.counts, Uint32Array));
    return this.opened.get(shard);
  }

  _recover(view) {
    if (this.whole) {
      this.cover = [0, 0, 1, 1];
      return;
    }
    const { x_range: xs, y_range: ys } = view.figure;
    const clamp = (value) => Math.min(1, Math.max(0, value));
    const seen = [clamp(xs.start), clamp(ys.start), clamp(xs.end), clamp(ys.end)];
    const inside = this.cover !== null && seen[0] >= this.cover[0] && seen[1] >= this.cover[1] && seen[2] <= this.cover[2] && seen[3] <= this.cover[3];
    if (inside && boxArea(this.cover) < 5 * boxArea(seen)) return;
    const [wide, high] = [(seen[2] - seen[0]) * COVER_MARGIN, (seen[3] - seen[1]) * COVER_MARGIN];
    this.cover = [clamp(seen[0] - wide), clamp(seen[1] - high), clamp(seen[2] + wide), clamp(seen[3] + high)];
  }

  _slicesFor(box) {
    if (this.whole) return 0;
    const here = this.countWithin(box);
    let slice = 0;
    while (slice + 1 < this.ends.length && (here * this.ends[slice + 1]) / this.total <= this.header.maxPoints) slice++;
    return slice;
  }

  _tiles(slice, [left, bottom, right, top]) {
    const side = tilesOfSlice(slice);
    const at = (value) => Math.min(side - 1, Math.max(0, Math.floor(value * side)));
    const keys = [];
    for (let ty = at(bottom); ty <= at(top); ty++) {
      for (let tx = at(left); tx <= at(right); tx++) keys.push(`points/${this.layer}/${slice}/${tx}/${ty}`);
    }
    return keys;
  }

  _open(shard) {
    if (!this.opened.has(shard)) {
      const columns = {};
      for (const [name, Type] of Object.entries(POINT_COLUMNS)) columns[name] = unpack(shard[name], Type);
      for (const name of ["x", "y"]) columns[name] = Float32Array.from(columns[name], (value) => value / 65535);
      this.opened.set(shard, columns);
    }
    return this.opened.get(shard);
  }
}

const boxArea = ([left, bottom, right, top]) => Math.max(1e-12, (right - left) * (top - bottom));

/** The samples of some columns for which keep(i) is true, as columns. */
function pickColumns(columns, keep) {
  const kept = Array.from({ length: columns.length }, (_, i) => i).filter(keep);
  const picked = { length: kept.length };
  for (const name of Object.keys(POINT_COLUMNS)) picked[name] = columns[name].constructor.from(kept, (i) => columns[name][i]);
  return picked;
}

/** Columns one after another; with a box, of the samples within it alone. */
function joinColumns(parts, box) {
  const kept = parts.map(({ x, y }) => {
    const inside = [];
    for (let i = 0; i < x.length; i++) {
      if (box === null || (x[i] >= box[0] && x[i] <= box[2] && y[i] >= box[1] && y[i] <= box[3])) inside.push(i);
    }
    return inside;
  });
  const length = kept.reduce((sum, { length: own }) => sum + own, 0);
  const joined = { length };
  for (const [name, Type] of Object.entries({ ...POINT_COLUMNS, x: Float32Array, y: Float32Array })) {
    const column = new Type(length);
    let next = 0;
    parts.forEach((part, p) => {
      for (const i of kept[p]) column[next++] = part[name][i];
    });
    joined[name] = column;
  }
  return joined;
}
