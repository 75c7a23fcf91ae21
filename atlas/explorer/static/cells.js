/* All cells of a level at once: what colours and filters need of them. */

class CellTable {
  constructor(shard, side) {
    const types = { column: Uint16Array, row: Uint16Array, images: Uint32Array, samples: Uint32Array, trust: Float32Array, kept: Float32Array };
    for (const [name, Type] of Object.entries(types)) this[name] = unpack(shard[name], Type);
    this.beyond = shard.beyond ? unpack(shard.beyond, Uint8Array) : null; // the noise floor: 1 yes, 0 no, 2 unknown
    this.side = side;
    this.length = this.column.length;
    this.index = new Int32Array(side * side).fill(-1);
    for (let i = 0; i < this.length; i++) this.index[this.row[i] * side + this.column[i]] = i;
  }

  /** The cell at a place of the unit square, -1 where none is. */
  at(x, y) {
    return this.index[squareAt(x, y, this.side)];
  }

  imagesAt(x, y) {
    const cell = this.at(x, y);
    return cell < 0 ? 0 : this.images[cell];
  }
}

/** The square of a grid of `side` a side that holds a place, counted from the bottom left row by row. */
function squareAt(x, y, side) {
  const at = (value) => Math.min(side - 1, Math.max(0, Math.floor(value * side)));
  return at(y) * side + at(x);
}

class CellTables {
  constructor(header, shards) {
    Object.assign(this, { header, shards });
    this.tables = new Map();
    this.effects = new WeakMap();
  }

  /** A level's CellTable, or null while it is on its way. */
  get(layer, level) {
    const key = `cells/${layer}/${level.level}`;
    if (!this.tables.has(key)) {
      const shard = this.shards.get(key);
      if (!shard) return null;
      this.tables.set(key, new CellTable(shard, level.side));
    }
    return this.tables.get(key);
  }

  /** Each cell's value for a colour mode, float (cells,), NaN for none: 0 to 1, an effect -1 to 1. null: on its way. */
  values(layer, level, mode, effect) {
    const table = this.get(layer, level);
    if (table === null) return null;
    if (mode === "density") {
      const most = Math.log(1 + table.images.reduce((a, b) => Math.max(a, b), 1));
      return Float32Array.from(table.images, (images) => Math.log(1 + images) / most);
    }
    if (mode === "trust") return table.trust;
    if (mode === "kept") {
      const most = table.kept.reduce((a, b) => (b > a ? b : a), 1e-9); // NaN is not greater
      const values = table.kept.map((kept) => kept / most);
      values.most = most;
      return values;
    }
    return this._effects(layer, level, table, effect);
  }

  /** A class's effects over its largest on this level: a rare class is as plain to see as a common one. */
  _effects(layer, level, table, effect) {
    const shard = this.shards.get(`effect/${layer}/${level.level}/${Math.floor(effect / 16)}`);
    if (shard === undefined) return null;
    const values = new Float32Array(table.length).fill(NaN);
    const of = shard?.classes[effect];
    if (!of) return values;
    if (!this.effects.has(of)) this.effects.set(of, { cell: unpack(of.cell, Uint32Array), value: unpack(of.value, Float32Array) });
    const { cell, value } = this.effects.get(of);
    const most = value.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
    for (let i = 0; i < cell.length; i++) values[cell[i]] = value[i] / most;
    values.most = most;
    return values;
  }
}

/** For each square of a level, the share of the drawn samples that pass, NaN where none is drawn. */
function liveShares(points, side) {
  const all = new Uint32Array(side * side);
  const live = new Uint32Array(side * side);
  for (let i = 0; i < points.length; i++) {
    const square = squareAt(points.x[i], points.y[i], side);
    all[square]++;
    live[square] += points.live[i];
  }
  return Float32Array.from(all, (drawn, square) => (drawn === 0 ? NaN : live[square] / drawn));
}

const PALE = 0.4; // of a cell whose change is within the noise floor

/** What filter and colour make of a level's cells: how strong each is shown, and the colour of its frame. */
class CellLook {
  /** shares: liveShares or null; values: of a colour mode or null, for the cells of `table`; pale: see valueColour;
   * beyond: a CellTable by whose noise floor cells pale, or null. */
  constructor({ filter, shares, table, values, mode, pale, beyond }) {
    Object.assign(this, { filter, shares, table, values, mode, pale, beyond });
  }

  /** 0 to 1: how much of a cell is left by the filter. */
  strength(cell, square) {
    if (cell.images < this.filter.images) return 0.1;
    return this._left(square) * (this._isWithinFloor(square) ? PALE : 1);
  }

  _isWithinFloor(square) {
    const cell = this.beyond === null ? -1 : this.beyond.index[square];
    return cell >= 0 && this.beyond.beyond[cell] === 0;
  }

  _left(square) {
    if (this.shares === null) return 1;
    const share = this.shares[square];
    if (Number.isNaN(share)) return 0.5; // thinned: nothing of this cell is drawn
    return share === 0 ? 0.1 : 0.3 + 0.7 * Math.sqrt(share);
  }

  /** A CSS colour, or null for no frame. */
  frame(square) {
    if (this.values === null || this.table === null) return null;
    const cell = this.table.index[square];
    const value = cell < 0 ? NaN : this.values[cell];
    return Number.isNaN(value) ? null : css(valueColour(this.mode, value, this.pale));
  }
}
