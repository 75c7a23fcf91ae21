/* One map: a layer, the view of it, and its canvases. The explorer has one, or two of them side by side. */

const MARK = "#d6266a"; // of what is pointed at or searched for: no class and no scale has this colour
const MOST_RINGS = 300; // samples marked with rings; more are marked with dots, which cost less

class Pane {
  /** number: 0 for the map in Bokeh's frame, 1 for the one beside it. */
  constructor(explorer, number) {
    Object.assign(this, { explorer, number });
    this.map = h("canvas", { class: "map" });
    this.dots = h("canvas", { class: "map points" });
    this.lines = h("canvas", { class: "map points" });
    this.under = h("div", { class: "under" }, this.map, this.dots, this.lines);
    this.view = null;
    this.books = new Map();
    this.points = null; // a PointLayer: the samples now in the page
    this.cells = null; // {table, values} of a colour mode of cells
    this.passing = null;
    this.covered = []; // boxes whose pictures lie over the samples
    this.badges = []; // the suspects' numbers: {px, py, radius, index} in CSS pixels
    this.hovered = null; // a cell, as TileLayer.cellAt gives it
    this.pointed = -1; // a sample, an index into points
    this.places = null; // of one image: {image, x: [], y: []}
    this.version = 0;
  }

  /** Index of the layer that is shown, null where nothing is. */
  get layer() {
    const { layer, beside } = this.explorer.state;
    return this.number === 0 ? layer : beside;
  }

  get about() {
    return this.explorer.header.layers[this.layer];
  }

  /** The level now shown, an entry of the layer's levels, or null. */
  get level() {
    return this.explorer.tiles.levelFor(this.layer, this.view.scale, this.explorer.state.locked);
  }

  get book() {
    const { layer } = this;
    if (!this.books.has(layer)) this.books.set(layer, new PointBook(this.explorer.header, this.explorer.shards, layer));
    return this.books.get(layer);
  }

  /** The cell under a place of the frame in CSS pixels, as TileLayer.cellAt gives it, or null. */
  found({ x, y }) {
    const { view, level } = this;
    return level === null ? null : this.cellAt(level, view.worldX(x), view.worldY(y));
  }

  cellAt(level, x, y) {
    return this.explorer.tiles.cellAt(this.layer, level, x, y);
  }

  /** Whether the user's selection was made on this map. */
  get holdsSelection() {
    return this.explorer.state.pane === this.number;
  }

  /** Paint everything; theme: the colours of the page. Returns {fading, decoding}: what is not yet as it will be. */
  paint(now, theme) {
    const { view } = this;
    const { state } = this.explorer;
    this.theme = theme;
    view.settle();
    const ratio = window.devicePixelRatio || 1;
    this._fitCanvases(ratio);
    const { level } = this;
    this._takePoints(level);
    const unfinished = this.paintMap(this.map.getContext("2d", { alpha: false }), ratio, now, level);
    this.dots.hidden = state.points === "off" || this.points === null;
    // A comparison opens with its samples over the icons: they must not hide what is compared.
    if (!this.dots.hidden) this.points.slight = this.explorer.header.diff !== null && state.points === "over";
    this.covered = state.points === "under" && level !== null ? this.explorer.tiles.covered(view, this.layer, level) : [];
    if (!this.dots.hidden) this.points.paint(this.dots.getContext("2d"), view, ratio, ["over", "under"].includes(state.points), this.covered);
    this._paintLines(ratio);
    return unfinished;
  }

  _fitCanvases(ratio) {
    const { frame } = this.view;
    for (const canvas of [this.map, this.dots, this.lines]) {
      const [width, height] = [Math.round(frame.width * ratio), Math.round(frame.height * ratio)];
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const place = { left: `${frame.left}px`, top: `${frame.top}px`, width: `${frame.width}px`, height: `${frame.height}px` };
      Object.assign(canvas.style, place);
    }
  }

  /** Bring samples, their colours and what the filter leaves to the state; does nothing where nothing has changed. */
  _takePoints(level) {
    const { layer } = this;
    const { state, header, tables, columns } = this.explorer;
    this.points = this.book.forView(this.view);
    const ofCells = CELL_MODES.includes(state.colour) && level !== null;
    const table = level !== null && (ofCells || state.filter.images > 1) ? tables.get(layer, level) : null;
    const values = ofCells && table !== null ? tables.values(layer, level, state.colour, state.effect) : null;
    const codes = columnOf(state.colour) === null ? null : columns.codes(columnOf(state.colour));
    const ready = columns.ready(state.filter);
    const stamp = JSON.stringify([codes !== null, ready, layer, state.colour, state.effect, state.filter, this.theme.dot, ofCells || state.filter.images > 1 ? [level.level, table !== null, values !== null] : 0]);
    if (this.points === null || (stamp === this.stamp && this.points === this.lookedAt)) return;
    this.stamp = stamp;
    this.lookedAt = this.points;
    this.awaited = ofCells && values === null;
    this.cells = values === null ? null : { table, values };
    const groups = groupPoints(header, this.points, state.colour, this.cells, codes, this.theme.pale);
    this.points.setLook(liveSamples(header, this.points, state.filter, table, columns), groups, this.theme.dim);
    this.passing = null;
    this.version++;
  }

  /** Icons and what lies over them. */
  paintMap(context, ratio, now, level) {
    const { explorer, view } = this;
    const { state } = explorer;
    context.imageSmoothingQuality = "high";
    this.passing ??= passing(explorer, this.book, this.points);
    if (level !== null && state.points !== "only") {
      return explorer.tiles.paint(context, view, ratio, this.layer, level, now, this._cellLook(level));
    }
    context.fillStyle = this.theme.ground;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    if (this.points !== null && this.points.share < 1) this._paintDensity(context, ratio);
    return { fading: false, decoding: false };
  }

  /** What filter and colour make of the cells, null where they leave them as they are. */
  _cellLook(level) {
    const { state } = this.explorer;
    const filtered = filtersAnything(state.filter);
    const beyond = this._floorOf(level);
    if (!filtered && this.cells === null && beyond === null) return null;
    const stamp = `${this.version}/${level.level}/${beyond !== null}`;
    if (this.lookStamp !== stamp) {
      this.lookStamp = stamp;
      const shares = filtered && this.points !== null ? liveShares(this.points, level.side) : null;
      const ofThisLevel = this.cells?.table.side === level.side;
      this.look = new CellLook({ filter: state.filter, shares, table: ofThisLevel ? this.cells.table : null, values: this.cells?.values ?? null, mode: state.colour, pale: this.theme.pale, beyond });
    }
    return this.look;
  }

  /** The cells of a level, by whose change within the noise floor they pale; null where they do not, or are on their way. */
  _floorOf(level) {
    const { state, header, tables } = this.explorer;
    if (!header.diff?.floored || !state.floor) return null;
    const table = tables.get(this.layer, level);
    return table?.beyond ? table : null;
  }

  /** All samples as shading beneath the drawn ones, where not all can be drawn. */
  _paintDensity(context, ratio) {
    const { book, view } = this;
    const counts = book.density();
    if (counts === null) return;
    if (this.densityOf !== counts || this.densityInk !== this.theme.quiet) {
      this.shading = dustOf(counts, channelsOf(this.theme.quiet));
      Object.assign(this, { densityOf: counts, densityInk: this.theme.quiet });
    }
    context.globalAlpha = 0.28;
    const side = view.scale * ratio;
    context.drawImage(this.shading, view.screenX(0) * ratio, view.screenY(1) * ratio, side, side);
    context.globalAlpha = 1;
  }

  // ---- over the icons: outlines, names, and what is marked ----

  _paintLines(ratio) {
    const { explorer } = this;
    const context = this.lines.getContext("2d");
    context.clearRect(0, 0, this.lines.width, this.lines.height);
    for (const outline of this.outlines) this.stroke(context, outline, ratio, true);
    const pencil = explorer.pointers?.[this.number].pencil;
    if (pencil?.outline) this.stroke(context, pencil.outline, ratio, pencil.tool !== "walk");
    this._paintCross(context, ratio);
    if (explorer.walk.isOpen && explorer.walk.pane === this.number) this.stroke(context, explorer.walk.path, ratio, false);
    explorer.suspectMap.paint(this, context, ratio, this.theme);
    paintNames(context, this.namesNow(), ratio, this.inks);
    if (this.number === 1) for (const mark of this.marks) this._paintMark(context, mark, ratio);
    this._paintTwins(context, ratio);
    if (this.places !== null) this._paintPlaces(context, ratio);
  }

  /** The cross that keys draw with, and what they have drawn. */
  _paintCross(context, ratio) {
    const pen = this.explorer.input?.pen;
    if (pen?.cross?.pane !== this) return;
    const outline = pen.outlineOn(this);
    if (outline !== null) this.stroke(context, outline, ratio, this.explorer.input.tool !== "walk");
    this._paintCursor(context, pen.cross, this.theme.accent, ratio);
  }

  /** Outlines of the region that was drawn on this map; those of another show where the layers have one layout. */
  get outlines() {
    const { state, links } = this.explorer;
    return this.holdsSelection || links.oneLayout ? state.region : [];
  }

  get inks() {
    return { ink: this.theme.ink, paper: this.theme.ground };
  }

  /** Names of classes that have room in the view. */
  namesNow() {
    const { view } = this;
    const { state, header } = this.explorer;
    if (!state.names || this.points === null) return [];
    const [side, part] = [nameSquares(view), nameWindow(view)];
    const stamp = `${this.version}/${side}/${part}`;
    if (stamp !== this.namesStamp) {
      this.namesStamp = stamp;
      this.namePlaces = placesOfNames(this.points, header, side, part);
    }
    const context = this.lines.getContext("2d");
    const height = 1.35 * this.theme.em;
    context.font = `600 ${height * 0.68}px system-ui, sans-serif`;
    this.names = fittingNames(this.namePlaces, view, (text) => context.measureText(text).width, height, this._keptFree());
    return this.names;
  }

  /** Boxes that names keep off, in CSS pixels of the frame: the suspects' numbers, and what stands over the map. */
  _keptFree() {
    const { left, top } = this.view.frame;
    const numbers = this.badges.map(({ px, py, radius }) => ({ px, py, width: 2 * radius, height: 2 * radius }));
    const over = this.explorer.standing.map(({ x, y, width, height }) => ({ px: x + width / 2 - left, py: y + height / 2 - top, width, height }));
    return [...numbers, ...over];
  }

  stroke(context, outline, ratio, closed) {
    const { view } = this;
    context.beginPath();
    outline.forEach(([x, y], i) => context[i === 0 ? "moveTo" : "lineTo"](view.screenX(x) * ratio, view.screenY(y) * ratio));
    if (closed) context.closePath();
    for (const [colour, width] of [[this.theme.ground, 4.5], [this.theme.accent, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.lineJoin = "round";
      context.stroke();
    }
  }

  /** The cells to frame, selected and pointed at: {column, row, side, line, ground}. */
  get marks() {
    const { state, links, panes } = this.explorer;
    const marks = [];
    const add = (layer, { level, column, row }, line, ground) => {
      const side = this.explorer.header.layers[layer].levels.find((one) => one.level === level)?.side;
      if (side) marks.push({ column, row, side, line, ground });
    };
    const shows = (number) => number === this.number || links.oneLayout;
    if (state.selected !== null && shows(state.pane)) add(panes[state.pane].layer, state.selected, 3, 7);
    for (const { number, layer, hovered } of panes) {
      if (hovered && shows(number)) add(layer, { ...hovered, level: hovered.level.level }, 1.5, 4.5);
    }
    return marks;
  }

  _paintMark(context, { column, row, side, line, ground }, ratio) {
    const { view } = this;
    const wide = (view.scale / side) * ratio;
    const [x, y] = [view.screenX(column / side) * ratio, view.screenY((row + 1) / side) * ratio];
    for (const [colour, width] of [["#ffffff", ground], ["#1b2230", line]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * ratio;
      context.strokeRect(x, y, wide, wide);
    }
  }

  /** Where the samples that are selected and pointed at on the other map lie on this one. */
  _paintTwins(context, ratio) {
    const twins = this.explorer.links.seenFrom(this);
    this.twins = twins;
    this._mark(context, twins.selected.map((i) => [this.points.x[i], this.points.y[i]]), this.theme.ink, ratio);
    this._mark(context, twins.pointed.map((i) => [this.points.x[i], this.points.y[i]]), MARK, ratio);
    if (twins.cursor !== null) this._paintCursor(context, twins.cursor, MARK, ratio);
  }

  /** A small cross at a place of the unit square. */
  _paintCursor(context, at, ink, ratio) {
    const { view } = this;
    const [x, y] = [view.screenX(at.x) * ratio, view.screenY(at.y) * ratio];
    for (const [colour, width] of [["#ffffff", 5], [ink, 2]]) {
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [0, 1]]) {
        context.moveTo(x - 11 * dx * ratio, y - 11 * dy * ratio);
        context.lineTo(x + 11 * dx * ratio, y + 11 * dy * ratio);
      }
      Object.assign(context, { strokeStyle: colour, lineWidth: width * ratio, lineCap: "round" });
      context.stroke();
    }
  }

  _mark(context, places, colour, ratio) {
    const { view } = this;
    const ringed = places.length <= MOST_RINGS;
    const radius = (ringed ? 0.35 : 0.15) * this.theme.em * ratio;
    context.beginPath();
    for (const [x, y] of places) {
      const [px, py] = [view.screenX(x) * ratio, view.screenY(y) * ratio];
      if (ringed) {
        context.moveTo(px + radius, py);
        context.arc(px, py, radius, 0, 2 * Math.PI);
      } else context.rect(px - radius, py - radius, 2 * radius, 2 * radius);
    }
    Object.assign(context, { fillStyle: colour, strokeStyle: this.theme.ground, lineWidth: (ringed ? 3 : 1.5) * ratio });
    context.stroke(); // first all rings: none covers a neighbour's dot
    context.fill();
  }

  _paintPlaces(context, ratio) {
    const { view, places } = this;
    places.x.forEach((x, i) => {
      if (places.focus !== undefined && places.focus !== null && places.focus !== i) return;
      for (const [colour, width] of [["#ffffff", 5], [MARK, 2.5]]) {
        context.beginPath();
        context.arc(view.screenX(x) * ratio, view.screenY(places.y[i]) * ratio, 9 * ratio, 0, 2 * Math.PI);
        context.strokeStyle = colour;
        context.lineWidth = width * ratio;
        context.stroke();
      }
    });
  }
}

const channelsOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
