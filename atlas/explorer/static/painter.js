/* What is seen of the state: the canvases under Bokeh's frame, and Bokeh's own marks on top. */

class Painter {
  constructor(explorer) {
    this.explorer = explorer;
    this.map = h("canvas", { class: "map" });
    this.dots = h("canvas", { class: "map points" });
    this.lines = h("canvas", { class: "map points" });
    this.under = h("div", { class: "under" }, this.map, this.dots, this.lines);
    this.points = null; // a PointLayer: the samples now in the page
    this.cells = null; // {table, values} of a colour mode of cells
    this.passing = null;
    this.version = 0;
  }

  /** Read the theme's colours and pass on how tiles look. */
  takeLook() {
    const { explorer } = this;
    const style = getComputedStyle(explorer.over);
    const colour = (name, other) => style.getPropertyValue(name).trim() || other;
    this.theme = {
      ground: colour("--ground", "#ffffff"), dot: colour("--dot", "#d3d7de"), ink: colour("--ink", "#1b2230"),
      accent: colour("--accent", "#2f5fd0"), quiet: colour("--quiet", "#667085"),
    };
    this.dim = channelsOf(this.theme.dot);
    const { cells, density } = explorer.state;
    explorer.tiles.setLook({ cells, density, ground: this.theme.ground, dot: this.theme.dot });
  }

  paint(now) {
    const { explorer } = this;
    const { view, state } = explorer;
    if (!view || view.size === null) return;
    view.settle();
    const ratio = window.devicePixelRatio || 1;
    this._fitCanvases(view, ratio);
    const level = explorer.level;
    this._takePoints(level);
    const unfinished = this._paintMap(this.map.getContext("2d", { alpha: false }), ratio, now, level);
    this.dots.hidden = state.points === "off" || this.points === null;
    if (!this.dots.hidden) this.points.paint(this.dots.getContext("2d"), view, ratio, state.points === "over");
    this._paintLines(ratio);
    const density = explorer.book.density();
    explorer.minimap.show(view, density, channelsOf(this.theme.quiet), this.theme.accent);
    const { loading } = explorer.shards;
    explorer.chrome.show(state, level, this.points, loading, this.passing, explorer.book);
    this._publish(level, loading || unfinished.fading || unfinished.decoding);
    explorer.overviewLater();
    if (unfinished.fading) explorer.repaint();
  }

  _fitCanvases(view, ratio) {
    const { frame } = view;
    for (const canvas of [this.map, this.dots, this.lines]) {
      const [width, height] = [Math.round(frame.width * ratio), Math.round(frame.height * ratio)];
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const place = { left: `${frame.left}px`, top: `${frame.top}px`, width: `${frame.width}px`, height: `${frame.height}px` };
      Object.assign(canvas.style, place);
    }
  }

  /** Bring samples, their colours and what the filter leaves to the state; does nothing where nothing has changed. */
  _takePoints(level) {
    const { explorer } = this;
    const { state, header, tables } = explorer;
    this.points = explorer.book.forView(explorer.view);
    const ofCells = CELL_MODES.includes(state.colour) && level !== null;
    const table = level !== null && (ofCells || state.filter.images > 1) ? tables.get(state.layer, level) : null;
    const values = ofCells && table !== null ? tables.values(state.layer, level, state.colour, state.effect) : null;
    const codes = this._codes(columnOf(state.colour));
    const stamp = JSON.stringify([codes !== null, state.layer, state.colour, state.effect, state.filter, this.theme.dot, ofCells || state.filter.images > 1 ? [level.level, table !== null, values !== null] : 0]);
    if (this.points === null || (stamp === this.stamp && this.points === this.lookedAt)) return;
    this.stamp = stamp;
    this.lookedAt = this.points;
    this.cells = values === null ? null : { table, values };
    this.points.setLook(liveSamples(header, this.points, state.filter, table), groupPoints(header, this.points, state.colour, this.cells, codes), this.dim);
    this.passing = null;
    this.version++;
  }

  /** Each image's code in the user's column, null for no column and while they are on their way. */
  _codes(column) {
    const shard = column === null ? null : this.explorer.shards.get(`column/${column}`);
    if (!shard) return null;
    if (this.codesOf !== shard) Object.assign(this, { codesOf: shard, codes: unpack(shard.codes, Uint8Array) });
    return this.codes;
  }

  /** Icons and what lies over them. */
  _paintMap(context, ratio, now, level) {
    const { explorer } = this;
    const { state, view } = explorer;
    context.imageSmoothingQuality = "high";
    this.passing ??= passing(explorer.header, explorer.book, this.points, explorer.shards, state.filter, this._table(level));
    if (level !== null && state.points !== "only") {
      return explorer.tiles.paint(context, view, ratio, state.layer, level, now, this._cellLook(level));
    }
    context.fillStyle = this.theme.ground;
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    if (this.points !== null && this.points.share < 1) this._paintDensity(context, ratio);
    return { fading: false, decoding: false };
  }

  _table(level) {
    const { state, tables } = this.explorer;
    return level === null || state.filter.images <= 1 ? null : tables.get(state.layer, level);
  }

  /** What filter and colour make of the cells, null where they leave them as they are. */
  _cellLook(level) {
    const { state } = this.explorer;
    const filtered = filtersAnything(state.filter);
    if (!filtered && this.cells === null) return null;
    const stamp = `${this.version}/${level.level}`;
    if (this.lookStamp !== stamp) {
      this.lookStamp = stamp;
      const shares = filtered && this.points !== null ? liveShares(this.points, level.side) : null;
      const ofThisLevel = this.cells?.table.side === level.side;
      this.look = new CellLook({ filter: state.filter, shares, table: ofThisLevel ? this.cells.table : null, values: this.cells?.values ?? null, mode: state.colour });
    }
    return this.look;
  }

  /** All samples as shading beneath the drawn ones, where not all can be drawn. */
  _paintDensity(context, ratio) {
    const { book, view } = this.explorer;
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

  /** Names, outlines, and the places of one image. */
  _paintLines(ratio) {
    const { explorer } = this;
    const context = this.lines.getContext("2d");
    context.clearRect(0, 0, this.lines.width, this.lines.height);
    for (const outline of this._outlines()) this._stroke(context, outline, ratio, true);
    const drawn = explorer.input?.pencil.outline;
    if (drawn) this._stroke(context, drawn, ratio, explorer.input.pencil.tool !== "walk");
    if (explorer.walk.isOpen) this._stroke(context, explorer.walk.path, ratio, false);
    paintNames(context, this._names(context), ratio, this._inks());
    if (explorer.places !== null) this._paintPlaces(context, explorer.places, ratio);
  }

  _outlines() {
    return this.explorer.state.region;
  }

  _inks() {
    return { ink: this.theme.ink, paper: this.theme.ground };
  }

  _names(context) {
    const { state, view, header } = this.explorer;
    if (!state.names || this.points === null) return [];
    const [side, part] = [nameSquares(view), nameWindow(view)];
    const stamp = `${this.version}/${side}/${part}`;
    if (stamp !== this.namesStamp) {
      this.namesStamp = stamp;
      this.namePlaces = placesOfNames(this.points, header, side, part);
    }
    const height = Math.min(26, Math.max(17, view.size.width / 90));
    context.font = `600 ${height * 0.68}px system-ui, sans-serif`;
    this.names = fittingNames(this.namePlaces, view, (text) => context.measureText(text).width, height);
    return this.names;
  }

  _stroke(context, outline, ratio, closed) {
    const { view } = this.explorer;
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

  _paintPlaces(context, places, ratio) {
    const { view } = this.explorer;
    places.x.forEach((x, i) => {
      if (places.focus !== undefined && places.focus !== null && places.focus !== i) return;
      for (const [colour, width] of [["#ffffff", 5], ["#d6266a", 2.5]]) {
        context.beginPath();
        context.arc(view.screenX(x) * ratio, view.screenY(places.y[i]) * ratio, 9 * ratio, 0, 2 * Math.PI);
        context.strokeStyle = colour;
        context.lineWidth = width * ratio;
        context.stroke();
      }
    });
  }

  /** Bokeh draws the marks: the selected cell's frame and the one under the pointer. */
  ring() {
    const { explorer } = this;
    const { selected } = explorer.state;
    const { hovered } = explorer;
    const cells = [];
    const sideOf = (number) => explorer.layer.levels.find(({ level }) => level === number)?.side;
    if (selected !== null) cells.push({ ...selected, side: sideOf(selected.level), line: 3, ground: 7 });
    if (hovered) cells.push({ column: hovered.column, row: hovered.row, side: hovered.level.side, line: 1.5, ground: 4.5 });
    const marked = {
      x: cells.map(({ column, side }) => (column + 0.5) / side),
      y: cells.map(({ row, side }) => (row + 0.5) / side),
      side: cells.map(({ side }) => 1 / side),
      line: cells.map(({ line }) => line),
      ground: cells.map(({ ground }) => ground),
    };
    const stamp = JSON.stringify(marked);
    if (stamp === this.marked) return;
    this.marked = stamp;
    explorer.mark.data = marked;
  }

  /** What tests and other pages may read off the figure's element. */
  _publish(level, loading) {
    const { explorer } = this;
    const { dataset } = explorer.plot.el;
    dataset.level = level === null ? "" : String(level.level);
    dataset.cellPx = level === null ? "" : String(explorer.view.scale / level.side);
    dataset.loading = String(loading);
    dataset.layer = String(explorer.state.layer);
  }

  /** Hand the user the view as a picture: "png" or "svg". */
  async save(kind) {
    const { explorer } = this;
    const { view, state, header, layer } = explorer;
    const level = explorer.level;
    const points = state.points === "off" ? null : this.points;
    const names = this._names(this.lines.getContext("2d"));
    const paintMap = (context, ratio) => this._paintMap(context, ratio, performance.now(), level);
    const name = `${header.name}-${layer.name}`;
    try {
      if (kind === "svg") {
        const text = mapSvg(view, paintMap, { points, dim: this.dim, names, outlines: this._outlines(), ...this._inks(), ground: this.theme.ground, title: `${header.name}, ${layer.name}` });
        saveFile(`${name}.svg`, "image/svg+xml", text);
        return;
      }
      const png = await mapPng(view, (context, ratio) => {
        paintMap(context, ratio);
        if (points !== null) paintDots(context, points, view, ratio, state.points === "over");
        for (const outline of this._outlines()) this._stroke(context, outline, ratio, true);
        paintNames(context, names, ratio, this._inks());
      });
      saveFile(`${name}.png`, "image/png", png);
    } catch (error) {
      explorer.chrome.say(`No picture was made: ${error.message}.`);
    }
  }
}

/** Samples over what a context already holds. */
function paintDots(context, points, view, ratio, ringed) {
  const canvas = document.createElement("canvas");
  canvas.width = context.canvas.width;
  canvas.height = context.canvas.height;
  points.paint(canvas.getContext("2d"), view, ratio, ringed);
  points.picture = null; // of a size that the screen does not need
  context.drawImage(canvas, 0, 0);
}

const channelsOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
