/* The scatter: one point per sample, painted straight into pixels. A stamp of some thirty pixels costs far less than
 * a canvas arc, so 50,000 points repaint within a frame without a graphics card, where Bokeh's glyphs need seconds. */

const BUCKETS = 256; // a side, for finding the point under the pointer
const SLIGHT = 2.1; // CSS pixels of radius: dots over icons that are the point of the view, without rings
const SLIGHT_UP_TO = 8; // CSS pixels of radius that there would be room for: from there on they grow
const RING_FROM = 2.2; // CSS pixels of radius: smaller points would drown in their own white rings

class PointLayer {
  /** columns: typed arrays of the same length, as PointBook joins them. */
  constructor(columns) {
    Object.assign(this, columns);
    this.slight = false; // drawn small while crowded, as over icons that are the point of the view
    this.area = 1; // of the part of the map that they cover
    this._bucket();
    this.live = new Uint8Array(this.length).fill(1);
    this.liveCount = this.length;
  }

  _bucket() {
    const at = (i) => this._bucketOf(this.x[i]) + BUCKETS * this._bucketOf(this.y[i]);
    this.first = new Uint32Array(BUCKETS * BUCKETS + 1);
    for (let i = 0; i < this.length; i++) this.first[at(i) + 1]++;
    for (let b = 0; b < BUCKETS * BUCKETS; b++) this.first[b + 1] += this.first[b];
    const next = this.first.slice();
    this.inBuckets = new Uint32Array(this.length);
    for (let i = 0; i < this.length; i++) this.inBuckets[next[at(i)]++] = i;
  }

  _bucketOf = (value) => Math.min(BUCKETS - 1, Math.max(0, Math.floor(value * BUCKETS)));

  /** Take on who passes the filter (1 or 0 each) and each sample's group (see colours.js); the rest is dimmed. */
  setLook(live, groups, dim) {
    this.live = live;
    this.groups = groups;
    this.liveCount = live.reduce((sum, one) => sum + one, 0);
    const colours = new Map();
    const packed = ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0;
    this.colour = new Uint32Array(this.length);
    this.shape = groups.shape && groups.group.some((group) => groups.shape(group) > 0) ? Uint8Array.from(groups.group, groups.shape) : null;
    for (let i = 0; i < this.length; i++) {
      const group = groups.group[i];
      if (!colours.has(group)) colours.set(group, packed(groups.colour(group)));
      this.colour[i] = live[i] ? colours.get(group) : packed(dim);
    }
    this.filtered = this.liveCount < this.length;
  }

  /** Paint into a 2-D context of `width` x `height` device pixels; `ratio` device pixels per CSS pixel. covered: boxes
   * [left, top, width, height] in CSS pixels that are left free, as the pictures beneath which points lie. */
  paint(context, view, ratio, ringed, covered = []) {
    const { width, height } = context.canvas;
    if (this.picture?.width !== width || this.picture.height !== height) {
      this.picture = context.createImageData(width, height);
    }
    const pixels = new Uint32Array(this.picture.data.buffer).fill(0);
    const radius = this.radius(view);
    const stamps = (size, ring) => DISTANCES.map((distance) => stampOf(distance, size * ratio, ring * ratio, width));
    if (this.filtered) this._stampAll(pixels, view, ratio, width, height, stamps(0.7 * radius, 0), 0);
    const ring = ringed && radius >= RING_FROM ? 0.9 : 0;
    this._stampAll(pixels, view, ratio, width, height, stamps(radius, ring), 1);
    context.putImageData(this.picture, 0, 0);
    for (const box of covered) context.clearRect(...box.map((value) => value * ratio));
  }

  _stampAll(pixels, view, ratio, width, height, stamps, live) {
    const scale = view.scale * ratio;
    const left = view.figure.x_range.start;
    const top = view.figure.y_range.end;
    const reach = Math.max(...stamps.map((stamp) => stamp.reach));
    for (let i = 0; i < this.length; i++) {
      if (this.live[i] !== live) continue;
      const px = Math.round((this.x[i] - left) * scale);
      const py = Math.round((top - this.y[i]) * scale);
      if (px < reach || py < reach || px >= width - reach || py >= height - reach) continue;
      stampAt(pixels, py * width + px, stamps[this.shape === null ? 0 : this.shape[i]], this.colour[i]);
    }
  }

  /** CSS pixels: small where points are crowded, growing as the map is zoomed. */
  radius(view) {
    const crowding = Math.sqrt(this.length / this.area) / view.scale; // points per CSS pixel along a line
    const room = 0.24 / crowding;
    if (!this.slight) return Math.min(5, Math.max(1.3, room));
    return room < SLIGHT_UP_TO ? Math.max(1.2, Math.min(SLIGHT, 0.5 * room)) : Math.min(5, SLIGHT + 0.4 * (room - SLIGHT_UP_TO));
  }

  /** Index of the point nearest to a place of the frame within `reach` CSS pixels, or -1. */
  nearest(view, px, py, reach = 7) {
    const [x, y, far] = [view.worldX(px), view.worldY(py), reach / view.scale];
    let best = -1;
    let closest = far * far;
    for (let by = this._bucketOf(y - far); by <= this._bucketOf(y + far); by++) {
      for (let bx = this._bucketOf(x - far); bx <= this._bucketOf(x + far); bx++) {
        const bucket = bx + BUCKETS * by;
        for (let k = this.first[bucket]; k < this.first[bucket + 1]; k++) {
          const i = this.inBuckets[k];
          const distance = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
          if (distance < closest && this.live[i]) [best, closest] = [i, distance];
        }
      }
    }
    return best;
  }

  /** Indices of the live points in a cell of a grid of `side` a side. */
  inCell(column, row, side) {
    const found = [];
    const at = (value) => Math.min(side - 1, Math.floor(value * side));
    for (let by = this._bucketOf(row / side); by <= this._bucketOf((row + 1) / side); by++) {
      for (let bx = this._bucketOf(column / side); bx <= this._bucketOf((column + 1) / side); bx++) {
        const bucket = bx + BUCKETS * by;
        for (let k = this.first[bucket]; k < this.first[bucket + 1]; k++) {
          const i = this.inBuckets[k];
          if (this.live[i] && at(this.x[i]) === column && at(this.y[i]) === row) found.push(i);
        }
      }
    }
    return found;
  }

  /** Map from each value of a column to the indices of the points that have it. */
  index(column) {
    this.indices ??= new Map();
    if (!this.indices.has(column)) {
      const of = new Map();
      this[column].forEach((value, i) => (of.has(value) ? of.get(value).push(i) : of.set(value, [i])));
      this.indices.set(column, of);
    }
    return this.indices.get(column);
  }

  /** How many samples the frame shows, and how many of them pass, and of which groups those are: {inView, live, counts: Map(group -> samples)}. */
  census(view) {
    const { x_range: xs, y_range: ys } = view.figure;
    const counts = new Map();
    let inView = 0;
    let live = 0;
    for (let i = 0; i < this.length; i++) {
      if (this.x[i] < xs.start || this.x[i] > xs.end || this.y[i] < ys.start || this.y[i] > ys.end) continue;
      inView++;
      if (!this.live[i]) continue;
      live++;
      const group = this.groups.group[i];
      counts.set(group, (counts.get(group) ?? 0) + 1);
    }
    return { inView, live, counts };
  }
}

const isCovered = (x, y, boxes) => boxes.some(([left, top, width, height]) => x >= left && y >= top && x <= left + width && y <= top + height);

/** How far a pixel is from the middle of a shape, in the order of SHAPES; all three have the disc's area. */
const DISTANCES = [
  (dx, dy) => Math.hypot(dx, dy),
  (dx, dy) => Math.max(Math.abs(dx), Math.abs(dy)) / 0.886,
  (dx, dy) => (Math.abs(dx) + Math.abs(dy)) / 1.253,
];

/** Offsets and coverages of a shape with a white ring: pixels nearer than `radius`, then `ring` more. */
function stampOf(distanceOf, radius, ring, stride) {
  const reach = Math.ceil(1.26 * (radius + ring));
  const offsets = [];
  const inks = []; // 0..256: how much of the point's colour covers the pixel
  const whites = []; // and how much of the ring
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const distance = distanceOf(dx, dy);
      const ink = Math.min(1, Math.max(0, radius + 0.5 - distance));
      const white = ring === 0 ? 0 : Math.min(1, Math.max(0, radius + ring + 0.5 - distance));
      if (ink + white === 0) continue;
      offsets.push(dy * stride + dx);
      inks.push(Math.round(ink * 256));
      whites.push(Math.round(white * 256));
    }
  }
  return { reach, offsets: Int32Array.from(offsets), inks: Uint16Array.from(inks), whites: Uint16Array.from(whites) };
}

function stampAt(pixels, at, { offsets, inks, whites }, colour) {
  for (let k = 0; k < offsets.length; k++) {
    const place = at + offsets[k];
    if (inks[k] === 256) {
      pixels[place] = colour;
      continue;
    }
    if (whites[k] > 0) pixels[place] = blend(pixels[place], 0xffffffff, whites[k]);
    if (inks[k] > 0) pixels[place] = blend(pixels[place], colour, inks[k]);
  }
}

/** `over` at `share` / 256 on top of `below`; both ABGR with straight alpha, `over` opaque. Two channels at a time. */
function blend(below, over, share) {
  const alpha = below >>> 24;
  const rest = 256 - share;
  // On bare or half-covered pixels the colour is the new one's alone: they are edges, one pixel wide.
  if (alpha < 255) return (((alpha + (((255 - alpha) * share) >> 8)) << 24) | (over & 0xffffff)) >>> 0;
  const redBlue = (((over & 0xff00ff) * share + (below & 0xff00ff) * rest) >>> 8) & 0xff00ff;
  const green = (((over & 0x00ff00) * share + (below & 0x00ff00) * rest) >>> 8) & 0x00ff00;
  return (0xff000000 | redBlue | green) >>> 0;
}
