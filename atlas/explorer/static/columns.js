/* The user's own columns, as far as they have come: codes for colours and choices, values for ranges. */

const UNKNOWN_CODE = 255;

class Columns {
  constructor(header, shards) {
    Object.assign(this, { header, shards });
    this.opened = new WeakMap(); // shard -> unpacked
  }

  /** Each image's code in a column, uint8, null while they are on their way. */
  codes(column) {
    return this._open(`column/${column}`, "codes", Uint8Array);
  }

  /** Each image's number in a column, NaN without one, null while they are on their way. */
  values(column) {
    return this._open(`values/${column}`, "values", Float64Array);
  }

  _open(key, name, Type) {
    const shard = this.shards.get(key);
    if (!shard) return null;
    if (!this.opened.has(shard)) this.opened.set(shard, unpack(shard[name], Type));
    return this.opened.get(shard);
  }

  /** Whether all that a filter asks of the columns is there. */
  ready(filter) {
    return this.tests(filter) !== null;
  }

  /** For each column and change of a filter, (image) => whether it passes; null while any is on its way. */
  tests(filter) {
    const tests = filter.columns.map(({ column, codes, low, high }) => {
      if (codes !== undefined) {
        const of = this.codes(column);
        return of && ((image) => codes.includes(of[image]));
      }
      const of = this.values(column);
      return of && ((image) => of[image] >= low && of[image] <= high); // NaN is neither
    });
    if (tests.includes(null)) return null;
    if (filter.change === null) return tests;
    const changed = new Set(this.header.diff.changes[filter.change].images);
    return [...tests, (image) => changed.has(image)];
  }
}
