/* The map's pictures: tiles of 8 x 8 cells, composed here from a sheet of icons (or of real patches), each drawn at
 * its density on the ground colour. Where a tile is not there yet, the nearest coarser or finer one that is shows. */

const TILE_SIDE = 8;
const CELL_PX = [48, 96]; // CSS pixels: the level shown automatically is the one whose cells are so wide
const SMALLEST_CELL_PX = 12; // a locked level gives way to coarser ones when its cells get smaller than this
const FULL_SHARE = 0.97; // of its cell, for an icon of full size: a hair of ground between neighbours
const SMALLEST_SHARE = 0.2;
const FADE_MS = 140;
const TILES_COMPOSED = 96;

class TileLayer {
  constructor(header, shards, repaint) {
    Object.assign(this, { header, shards, repaint });
    this.tiles = new Map(); // key -> tile, least recently painted first
    this.present = new Map();
    this.look = { cells: "icons", density: true, ground: "#ffffff", dot: "#c9cdd4" };
  }

  /** Take on how tiles look; composed ones are recomposed as they are painted. */
  setLook(look) {
    Object.assign(this.look, look);
    this.stamp = JSON.stringify(this.look);
  }

  /** Levels that can be drawn: without pictures of the dataset a level without icons has nothing to show. */
  levelsOf(layer) {
    const { levels } = this.header.layers[layer];
    return levels.filter((level) => level.icons > 0 || this.header.pictures);
  }

  /** The level for a scale in CSS pixels per unit: the locked one, else the one whose cells are 48 to 96 px wide. */
  levelFor(layer, scale, locked) {
    const levels = this.levelsOf(layer);
    if (levels.length === 0) return null;
    const wide = (level) => scale / level.side;
    const fitting = levels.filter((level) => wide(level) >= (locked === null ? CELL_PX[0] : SMALLEST_CELL_PX));
    const upTo = locked === null ? fitting : fitting.filter((level) => level.level <= locked);
    return upTo.at(-1) ?? levels[0];
  }

  /** Whether a level's tile holds any cell. */
  isPresent(layer, level, tx, ty) {
    const tiles = level.side / TILE_SIDE;
    if (tx < 0 || ty < 0 || tx >= tiles || ty >= tiles) return false;
    const name = `${layer}/${level.level}`;
    if (!this.present.has(name)) this.present.set(name, unpack(level.tiles, Uint8Array));
    const bit = ty * tiles + tx;
    return ((this.present.get(name)[bit >> 3] >> (bit & 7)) & 1) === 1;
  }

  /** Paint `level` over the frame, in device pixels; `cells` (a CellLook) veils and frames its cells. Returns {fading, decoding}: what is not yet as it will be. */
  paint(context, view, ratio, layer, level, now, cells) {
    context.fillStyle = this.look.ground;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    const unfinished = { fading: false, decoding: false };
    for (const [tx, ty] of this.visible(view, layer, level)) {
      const box = this._box(view, ratio, level, tx, ty);
      const tile = this.tile(layer, level, tx, ty);
      const canvas = tile === null ? null : this._composed(tile, layer, level);
      if (tile !== null && (canvas === null || tile.stamp !== this.stamp)) unfinished.decoding = true;
      const shown = canvas === null ? 0 : this._faded(tile, now);
      if (shown < 1) {
        if (canvas !== null) unfinished.fading = true;
        this._paintStandIn(context, layer, level, tx, ty, box);
      }
      if (canvas === null) continue;
      context.globalAlpha = shown;
      context.drawImage(canvas, box.x, box.y, box.width, box.height);
      context.globalAlpha = 1;
      if (cells !== null) this._paintCells(context, tile, level, box, cells);
    }
    this._forget();
    return unfinished;
  }

  /** [tx, ty] of the level's present tiles within the frame, nearest to the middle first. */
  visible(view, layer, level) {
    const { x_range: xs, y_range: ys } = view.figure;
    const tiles = level.side / TILE_SIDE;
    const clamp = (value) => Math.min(tiles - 1, Math.max(0, Math.floor(value * tiles)));
    const found = [];
    for (let ty = clamp(ys.start); ty <= clamp(ys.end); ty++) {
      for (let tx = clamp(xs.start); tx <= clamp(xs.end); tx++) {
        if (this.isPresent(layer, level, tx, ty)) found.push([tx, ty]);
      }
    }
    const [cx, cy] = [((xs.start + xs.end) / 2) * tiles - 0.5, ((ys.start + ys.end) / 2) * tiles - 0.5];
    // The last asked for is loaded first, so the farthest is asked for first.
    return found.sort((a, b) => Math.hypot(b[0] - cx, b[1] - cy) - Math.hypot(a[0] - cx, a[1] - cy));
  }

  /** A tile's cells and pictures, or null while its shard is on its way. */
  tile(layer, level, tx, ty) {
    const key = `${layer}/${level.level}/${tx}/${ty}`;
    let tile = this.tiles.get(key);
    if (tile !== undefined) {
      this.tiles.delete(key);
      this.tiles.set(key, tile);
    } else {
      const shard = this.shards.get(`tile/${key}`);
      if (!shard) return null;
      const bySlot = new Array(TILE_SIDE * TILE_SIDE).fill(null);
      for (const cell of shard.cells) bySlot[cell.slot] = cell;
      tile = { key, tx, ty, level, cells: shard.cells, bySlot, icons: null, real: null, canvas: null };
      if (shard.icons) tile.icons = decodePicture(shard.icons, this.repaint);
      this.tiles.set(key, tile);
    }
    return tile;
  }

  /** Whether a cell's tile is on its way: whether it holds the cell is not known yet. */
  awaits(layer, level, column, row) {
    const [tx, ty] = [Math.floor(column / TILE_SIDE), Math.floor(row / TILE_SIDE)];
    return this.isPresent(layer, level, tx, ty) && this.shards.get(`tile/${layer}/${level.level}/${tx}/${ty}`) === undefined;
  }

  _showsReal(level) {
    return this.header.pictures && (this.look.cells === "pictures" || level.icons === 0);
  }

  /** The sheets that a tile shows, one over the other: {image, size, real} each, or null while it is on its way. */
  sheets(tile, layer, level) {
    if (this._showsReal(level)) return [this.realSheet(tile, layer)];
    const icons = this.iconSheet(tile, layer);
    if (!this.header.pictures) return [icons];
    if (this.look.cells === "both") return [icons, this.realSheet(tile, layer)];
    if (!tile.cells.some(({ bare, real }) => bare && real)) return [icons];
    const patches = this.realSheet(tile, layer); // for the cells alone that have images enough and no icon
    return [icons, patches && { ...patches, standsIn: true }];
  }

  iconSheet(tile, layer) {
    const size = this.header.layers[layer].iconSize;
    if (tile.icons === null || tile.icons.broken) return { image: null, size, real: false };
    return tile.icons.image === null ? null : { image: tile.icons.image, size, real: false };
  }

  realSheet(tile, layer) {
    if (tile.real === null && this.header.pictures) {
      const shard = this.shards.get(`real/${tile.key}`);
      if (shard) tile.real = decodeSlots(shard.pictures, this.header.layers[layer].patchSize, this.repaint);
      else if (shard === null) tile.real = { image: null, broken: true };
    }
    const size = this.header.layers[layer].patchSize;
    if (tile.real?.broken || !this.header.pictures) return { image: null, size, real: true };
    return tile.real?.image ? { image: tile.real.image, size, real: true } : null;
  }

  _composed(tile, layer, level) {
    if (tile.canvas !== null && tile.stamp === this.stamp) return tile.canvas;
    const sheets = this.sheets(tile, layer, level);
    const ready = sheets.filter((sheet) => sheet !== null);
    const whole = ready.length === sheets.length;
    // The old look stays until the new one is there; where there is none yet, a part is better than nothing.
    if (ready.length === 0 || (!whole && tile.canvas !== null)) return tile.canvas;
    const size = Math.max(...ready.map((sheet) => sheet.size));
    const side = TILE_SIDE * size;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d", { alpha: false });
    context.fillStyle = this.look.ground;
    context.fillRect(0, 0, side, side);
    context.imageSmoothingQuality = "high";
    for (const cell of tile.cells) this._drawCell(context, cell, ready, size, level.dense);
    tile.born = tile.canvas === null ? performance.now() : -Infinity;
    tile.canvas = canvas;
    tile.stamp = whole ? this.stamp : null;
    return canvas;
  }

  _drawCell(context, cell, sheets, size, dense) {
    const share = this.look.density ? this.sizeOf(cell, dense) : FULL_SHARE;
    const [column, line] = [cell.slot % TILE_SIDE, Math.floor(cell.slot / TILE_SIDE)];
    const [x, y] = [column * size, line * size];
    const there = picturesOf(cell, sheets);
    const [left, top, side] = [x + (size * (1 - share)) / 2, y + (size * (1 - share)) / 2, size * share];
    there.forEach((sheet, i) => {
      context.save();
      if (i > 0) cutLowerRight(context, left, top, side, this.look.ground);
      context.drawImage(sheet.image, column * sheet.size, line * sheet.size, sheet.size, sheet.size, left, top, side, side);
      context.restore();
    });
    if (there.length > 0) return;
    if (cell.bare && sheets.length === 1) {
      context.strokeStyle = this.look.dot; // no icon and no picture at hand, but images enough for a cell of full size
      context.lineWidth = Math.max(1, size / 32);
      context.strokeRect(left + size / 32, top + size / 32, side - size / 16, side - size / 16);
    } else {
      // Too few images for an icon: a dot says that there is something.
      context.fillStyle = this.look.dot;
      context.beginPath();
      context.arc(x + size / 2, y + size / 2, size * 0.05, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** An icon's side as a share of its cell's: area for number of images, full at the level's typical cell. */
  sizeOf(cell, dense) {
    return FULL_SHARE * Math.min(1, Math.max(SMALLEST_SHARE, Math.sqrt(cell.images / dense)));
  }

  /** Veil cells by what the filter leaves of them, and frame them in their colours: cheaper than a new composition. */
  _paintCells(context, tile, level, box, cells) {
    const [wide, high] = [box.width / TILE_SIDE, box.height / TILE_SIDE];
    for (const cell of tile.cells) {
      const [column, line] = [cell.slot % TILE_SIDE, Math.floor(cell.slot / TILE_SIDE)];
      const square = (tile.ty * TILE_SIDE + TILE_SIDE - 1 - line) * level.side + tile.tx * TILE_SIDE + column;
      const share = this.look.density ? this.sizeOf(cell, level.dense) : FULL_SHARE;
      const [x, y] = [box.x + (column + (1 - share) / 2) * wide, box.y + (line + (1 - share) / 2) * high];
      const colour = cells.frame(square);
      if (colour !== null) {
        const thick = Math.max(2, Math.min(0.09 * wide * share, 10));
        context.strokeStyle = colour;
        context.lineWidth = thick;
        context.strokeRect(x + thick / 2, y + thick / 2, wide * share - thick, high * share - thick);
      }
      const strength = cells.strength(cell, square);
      if (strength < 1) {
        context.globalAlpha = 1 - strength;
        context.fillStyle = this.look.ground;
        context.fillRect(Math.floor(x) - 1, Math.floor(y) - 1, Math.ceil(wide * share) + 2, Math.ceil(high * share) + 2);
        context.globalAlpha = 1;
      }
    }
  }

  /** The boxes of a frame that cells' pictures fill, as far as they are there: [left, top, width, height], CSS pixels. */
  covered(view, layer, level) {
    const wide = view.scale / level.side;
    const boxes = [];
    for (const [tx, ty] of this.visible(view, layer, level)) {
      const tile = this.tiles.get(`${layer}/${level.level}/${tx}/${ty}`);
      if (!tile?.canvas) continue;
      const sheets = this.sheets(tile, layer, level).filter((sheet) => sheet !== null);
      const [left, top] = [view.screenX((tx * TILE_SIDE) / level.side), view.screenY(((ty + 1) * TILE_SIDE) / level.side)];
      for (const cell of tile.cells.filter((one) => picturesOf(one, sheets).length > 0)) {
        const side = wide * (this.look.density ? this.sizeOf(cell, level.dense) : FULL_SHARE);
        const gap = (wide - side) / 2;
        boxes.push([left + (cell.slot % TILE_SIDE) * wide + gap, top + Math.floor(cell.slot / TILE_SIDE) * wide + gap, side, side]);
      }
    }
    return boxes;
  }

  _faded(tile, now) {
    if (reducedMotion()) return 1;
    return Math.min(1, Math.max(0, (now - tile.born) / FADE_MS));
  }

  /** A tile's place in device pixels, edges rounded so that neighbours meet without a seam. */
  _box(view, ratio, level, tx, ty) {
    const unit = TILE_SIDE / level.side;
    const x = Math.round(view.screenX(tx * unit) * ratio);
    const y = Math.round(view.screenY((ty + 1) * unit) * ratio);
    const right = Math.round(view.screenX((tx + 1) * unit) * ratio);
    const bottom = Math.round(view.screenY(ty * unit) * ratio);
    return { x, y, width: right - x, height: bottom - y };
  }

  /** Fill a tile's box with what is there of the nearest coarser level, else of finer ones. */
  _paintStandIn(context, layer, level, tx, ty, box) {
    const { levels } = this.header.layers[layer];
    for (let up = 1; level.level - up >= 0; up++) {
      const coarse = levels.find((other) => other.level === level.level - up);
      const tile = coarse && this.tiles.get(`${layer}/${coarse.level}/${tx >> up}/${ty >> up}`);
      if (!tile?.canvas) continue;
      const side = tile.canvas.width / 2 ** up;
      const left = (tx - ((tx >> up) << up)) * side;
      const top = tile.canvas.height - (ty - ((ty >> up) << up) + 1) * side;
      context.drawImage(tile.canvas, left, top, side, side, box.x, box.y, box.width, box.height);
      return;
    }
    for (const [dx, dy] of [[0, 0], [1, 0], [0, 1], [1, 1]]) {
      const tile = this.tiles.get(`${layer}/${level.level + 1}/${2 * tx + dx}/${2 * ty + dy}`);
      if (!tile?.canvas) continue;
      const [w, h] = [box.width / 2, box.height / 2];
      context.drawImage(tile.canvas, box.x + dx * w, box.y + (1 - dy) * h, w, h);
    }
  }

  _forget() {
    for (const key of this.tiles.keys()) {
      if (this.tiles.size <= TILES_COMPOSED) break;
      this.tiles.delete(key);
    }
  }

  /** The cell of a level at a place of the unit square: {cell, tile, column, row, ...}, or null where none is. */
  cellAt(layer, level, x, y) {
    const at = (value) => Math.min(level.side - 1, Math.floor(value * level.side));
    const [column, row] = [at(x), at(y)];
    if (x < 0 || y < 0 || x > 1 || y > 1) return null;
    const [tx, ty] = [Math.floor(column / TILE_SIDE), Math.floor(row / TILE_SIDE)];
    if (!this.isPresent(layer, level, tx, ty)) return null;
    const tile = this.tile(layer, level, tx, ty);
    const slot = (TILE_SIDE - 1 - (row % TILE_SIDE)) * TILE_SIDE + (column % TILE_SIDE);
    const cell = tile?.bySlot[slot] ?? null;
    return cell === null ? null : { cell, tile, slot, column, row, layer, level };
  }
}

/** Those of a tile's sheets that have a picture of a cell. */
const picturesOf = (cell, sheets) => sheets.filter(({ image, real, standsIn }) => image !== null && (real ? cell.real && (!standsIn || cell.bare) : cell.icon));

/** Let what is drawn next into the lower right half of a square alone, beyond a hair of ground. Along the diagonal,
 * because halves side by side look like two cells, and a small inset hides what the patch shows. */
function cutLowerRight(context, left, top, side, ground) {
  context.beginPath();
  context.moveTo(left + side, top);
  context.lineTo(left + side, top + side);
  context.lineTo(left, top + side);
  context.closePath();
  context.strokeStyle = ground;
  context.lineWidth = side / 24;
  context.stroke();
  context.clip();
}

/** Pictures by slot, drawn onto one sheet of a tile when all are decoded; ready() is called then. */
function decodeSlots(pictures, size, ready) {
  const sheet = { image: null };
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = TILE_SIDE * size;
  const context = canvas.getContext("2d");
  const drawn = Object.entries(pictures).map(async ([slot, uri]) => {
    const image = new Image();
    image.src = uri;
    await image.decode();
    context.drawImage(image, (slot % TILE_SIDE) * size, Math.floor(slot / TILE_SIDE) * size, size, size);
  });
  Promise.allSettled(drawn).then(() => {
    sheet.image = canvas;
    ready();
  });
  return sheet;
}

const motionQuery = window.matchMedia("(prefers-reduced-motion: reduce)");
const reducedMotion = () => motionQuery.matches;
