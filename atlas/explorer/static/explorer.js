/* The explorer: one state, one paint loop, and what keys and pointer do to them. Mounted once into a Bokeh figure. */

const MINIMUM_PANEL_PX = 640; // of the figure's width: below it the panel opens over the map

class Explorer {
  constructor({ figure, plot, mark, header, inline }) {
    Object.assign(this, { figure, plot, mark, header });
    this.state = {
      layer: 0,
      locked: null, // a level's number, or null: automatic
      cells: "icons", // or "pictures"
      points: "off", // "over", "only"
      colour: colourModes(header)[0][0],
      density: true,
      only: null, // a class: dim all others
      selected: null, // {layer, level, column, row}
    };
    this.pointLayers = new Map();
    this.pointer = null; // its place in the frame in CSS pixels
    this.shards = new Shards({ home: header.home, token: header.token, inline, changed: (key) => this._shardChanged(key) });
    this.tiles = new TileLayer(header, this.shards, () => this._shardChanged("decoded"));
    this.panel = new Panel(header, this.shards, this.tiles, {
      close: () => this.select(null),
      filter: (only) => this.set({ only }),
    });
    this.chrome = new Chrome(header, {
      set: (changes) => this.set(changes),
      colour: (colour) => this.set({ colour, points: this.state.points === "off" ? "over" : this.state.points }),
      zoom: (factor) => this.view.zoomBy(factor),
      home: () => this.view.goHome(),
      overview: () => this.select(null),
    });
    this.panel.help = this.chrome.help;
    this._build();
    this.view = new View(figure, plot, {
      deepestSide: this.layer.levels.at(-1)?.side ?? 8,
      home: this.layer.bounds,
      changed: () => {
        this.repaint();
        this._hoverLater();
      },
    });
    this._listen();
    this.set({});
    this._fit();
  }

  get layer() {
    return this.header.layers[this.state.layer];
  }

  /** The level now shown, an entry of the layer's levels, or null. */
  get level() {
    return this.tiles.levelFor(this.state.layer, this.view.scale, this.state.locked);
  }

  // ---- elements ----

  _build() {
    this.mapCanvas = h("canvas", { class: "map" });
    this.pointCanvas = h("canvas", { class: "map points" });
    this.under = h("div", { class: "under" }, this.mapCanvas, this.pointCanvas);
    const { head, overlay, status, card } = this.chrome;
    this.over = h("div", { class: "over" }, head, this.panel.element, overlay, status, card);
    const root = this.plot.el.shadowRoot;
    root.prepend(this.under);
    root.append(this.over);
    this.plot.el.dataset.atlas = "mounted";
    this.plot.canvas_view.events_el.style.outline = "none"; // the map has no other place to put the focus
  }

  /** Leave room around Bokeh's frame for header, panel and status line, and fit the canvases to the frame. */
  _fit() {
    const { figure, plot } = this;
    const { head, status } = this.chrome;
    const width = plot.el.clientWidth;
    const narrow = width < MINIMUM_PANEL_PX * (parseFloat(getComputedStyle(this.over).fontSize) / 14);
    this.over.classList.toggle("narrow", narrow);
    const wanted = {
      min_border_top: head.offsetHeight,
      min_border_right: narrow ? 0 : this.panel.element.offsetWidth,
      min_border_bottom: status.offsetHeight,
      min_border_left: 0,
    };
    this.over.style.setProperty("--head", `${head.offsetHeight}px`);
    this.over.style.setProperty("--foot", `${status.offsetHeight}px`);
    this.over.style.setProperty("--side-panel", `${wanted.min_border_right}px`);
    const changed = Object.entries(wanted).filter(([name, value]) => figure[name] !== value);
    if (changed.length > 0) figure.setv(Object.fromEntries(changed));
    this.view.fitFrame();
    this.repaint();
  }

  // ---- state ----

  set(changes) {
    const layerChanged = changes.layer !== undefined && changes.layer !== this.state.layer;
    Object.assign(this.state, changes);
    const style = getComputedStyle(this.over);
    const { cells, density, only } = this.state;
    const ground = style.getPropertyValue("--ground").trim() || "#ffffff";
    const dot = style.getPropertyValue("--dot").trim() || "#d3d7de";
    this.dim = [1, 3, 5].map((at) => parseInt(dot.slice(at, at + 2), 16));
    this.tiles.setLook({ cells, density, only, ground, dot });
    if (layerChanged) {
      this.view.bounds = this.layer.bounds;
      this.state.selected = null;
      this.panel.shown = null;
      this.overviewOf = null;
    }
    this.pointLayers.get(this.state.layer)?.setColour(this.state.colour, only, this.dim);
    this._overviewLater();
    this.repaint();
  }

  /** This layer's points, or null while they are on their way. */
  points() {
    const { layer, colour, only } = this.state;
    if (!this.pointLayers.has(layer)) {
      const shard = this.shards.get(`points/${layer}`);
      if (!shard) return null;
      const points = new PointLayer(this.header, shard);
      points.setColour(colour, only, this.dim);
      this.pointLayers.set(layer, points);
    }
    return this.pointLayers.get(layer);
  }

  /** Select a cell as found by TileLayer.cellAt, or nothing. */
  select(found) {
    this.state.selected = found && { layer: found.layer, level: found.level, column: found.column, row: found.row };
    if (found === null) {
      this.panel.shown = null;
      this.overviewOf = null;
      this._overview();
    } else {
      this.panel.showCell(found);
    }
    this.over.classList.toggle("open", found !== null);
    this._ring();
  }

  _shardChanged(key) {
    this.panel.refresh(key);
    if (key.startsWith("points/")) this._overviewLater();
    if (this.pointer !== null) this._hoverLater();
    this.repaint();
  }

  // ---- painting ----

  repaint() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => {
      this.asked = false;
      this._paint(now);
    });
  }

  _paint(now) {
    if (!this.view || this.view.size === null) return;
    this.view.settle();
    const { view, state } = this;
    const ratio = window.devicePixelRatio || 1;
    const frame = view.frame;
    for (const canvas of [this.mapCanvas, this.pointCanvas]) {
      const [width, height] = [Math.round(frame.width * ratio), Math.round(frame.height * ratio)];
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      const place = { left: `${frame.left}px`, top: `${frame.top}px`, width: `${frame.width}px`, height: `${frame.height}px` };
      Object.assign(canvas.style, place);
    }
    const level = this.level;
    const context = this.mapCanvas.getContext("2d", { alpha: false });
    context.imageSmoothingQuality = "high";
    let unfinished = { fading: false, decoding: false };
    if (level !== null && state.points !== "only") {
      unfinished = this.tiles.paint(context, view, ratio, state.layer, level, now);
    } else {
      context.fillStyle = this.tiles.look.ground;
      context.fillRect(0, 0, this.mapCanvas.width, this.mapCanvas.height);
    }
    const points = this.points();
    this.pointCanvas.hidden = state.points === "off" || points === null;
    if (!this.pointCanvas.hidden) points.paint(this.pointCanvas.getContext("2d"), view, ratio, state.points === "over");
    this.chrome.show(state, level, points, this.shards.loading);
    this._publish(level, this.shards.loading || unfinished.fading || unfinished.decoding);
    this._overviewLater();
    if (unfinished.fading) this.repaint();
  }

  /** What tests and other pages may read off the figure's element. */
  _publish(level, loading) {
    const { dataset } = this.plot.el;
    dataset.level = level === null ? "" : String(level.level);
    dataset.cellPx = level === null ? "" : String(this.view.scale / level.side);
    dataset.loading = String(loading);
    dataset.layer = String(this.state.layer);
  }

  /** Bokeh draws the marks: the selected cell's frame and the one under the pointer. */
  _ring() {
    const cells = [this.state.selected, this.hovered].filter((cell) => cell && cell.layer === this.state.layer);
    const sides = cells.map(({ level }) => 1 / level.side);
    const marked = {
      x: cells.map(({ column }, i) => (column + 0.5) * sides[i]),
      y: cells.map(({ row }, i) => (row + 0.5) * sides[i]),
      side: sides,
      line: cells.map((cell) => (cell === this.state.selected ? 3 : 1.5)),
      ground: cells.map((cell) => (cell === this.state.selected ? 7 : 4.5)),
    };
    const stamp = JSON.stringify(marked);
    if (stamp === this.marked) return;
    this.marked = stamp;
    this.mark.data = marked;
  }

  _overviewLater() {
    clearTimeout(this.overviewTimer);
    this.overviewTimer = setTimeout(() => this._overview(), 120);
  }

  _overview() {
    if (this.panel.shown !== null || this.view.size === null) return;
    const points = this.points();
    // A field in use must not be replaced under the user's fingers.
    const typing = this.panel.element.contains(this.panel.element.getRootNode().activeElement);
    if (typing && this.panel.element.getRootNode().activeElement.tagName === "INPUT") return;
    const census = points?.census(this.view) ?? null;
    const stamp = JSON.stringify([census && [census.inView, [...census.counts]], this.state.colour, this.state.only, this.state.layer]);
    if (stamp === this.overviewOf && this.panel.element.childElementCount > 1) return;
    this.overviewOf = stamp;
    this.panel.showOverview(census, points, this.state);
  }

  // ---- pointer and keys ----

  _listen() {
    const { el } = this.plot;
    el.addEventListener("pointermove", (event) => this._pointerMoved(event));
    el.addEventListener("pointerleave", () => {
      this.pointer = null;
      this._hover(null);
    });
    el.addEventListener("pointerdown", (event) => (this.pressed = [event.clientX, event.clientY]));
    el.addEventListener("pointerup", (event) => this._released(event));
    const resized = new ResizeObserver(() => this._fit());
    for (const part of [el, this.chrome.head, this.chrome.status, this.panel.element]) resized.observe(part);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.set({}));
    document.addEventListener("keydown", (event) => this._key(event));
  }

  /** A pointer event's place in the frame in CSS pixels, or null outside it. */
  _place(event) {
    const outer = this.plot.el.getBoundingClientRect();
    const { left, top, width, height } = this.view.frame;
    const [x, y] = [event.clientX - outer.left - left, event.clientY - outer.top - top];
    const onChrome = event.composedPath().some((element) => element === this.over);
    return onChrome || x < 0 || y < 0 || x > width || y > height ? null : { x, y };
  }

  _pointerMoved(event) {
    this.pointer = event.buttons === 0 ? this._place(event) : null;
    this._hoverLater();
  }

  /** Look again at what is under the pointer: it has moved, or the map under it has. */
  _hoverLater() {
    if (this.hoverAsked) return;
    this.hoverAsked = true;
    requestAnimationFrame(() => {
      this.hoverAsked = false;
      this._hover(this.pointer);
    });
  }

  _found({ x, y }) {
    const level = this.level;
    if (level === null) return null;
    return this.tiles.cellAt(this.state.layer, level, this.view.worldX(x), this.view.worldY(y));
  }

  _hover(place) {
    if (this.view.size === null) return;
    const { left, top } = this.view.frame;
    const points = this.state.points === "off" ? null : this.points();
    const nearest = place && points ? points.nearest(this.view, place.x, place.y) : -1;
    const found = place === null || nearest >= 0 ? null : this._found(place);
    this.hovered = found;
    this._ring();
    if (nearest >= 0) this._hoverPoint(points, nearest, place);
    else if (found !== null && this.state.points !== "only") {
      const ready = (found.cell.icon ? found.tile.icons : found.tile.real)?.image ? "ready" : "";
      this.chrome.showCard(`${found.tile.key}/${found.slot}/${ready}`, left + place.x, top + place.y, () => cellCard(found, this.header, this.tiles));
    } else this.chrome.hideCard();
  }

  _hoverPoint(points, index, place) {
    const { left, top } = this.view.frame;
    const image = points.image[index];
    const content = pointCard(image, this.shards, this.header);
    if (content !== null) this.chrome.showCard(`image ${image}`, left + place.x, top + place.y, () => content);
  }

  _released(event) {
    const place = this._place(event);
    if (place === null || !this.pressed || event.button !== 0) return;
    const moved = Math.hypot(event.clientX - this.pressed[0], event.clientY - this.pressed[1]);
    if (moved > 4) return;
    this.select(this._found(place));
  }

  _key(event) {
    const field = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(field?.tagName)) return;
    const act = this._acts()[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  _acts() {
    const { state, view } = this;
    const next = (values, value) => values[(values.indexOf(value) + 1) % values.length];
    const zoomIn = () => view.zoomBy(1.6);
    return {
      "+": zoomIn,
      "=": zoomIn,
      "-": () => view.zoomBy(1 / 1.6),
      0: () => view.goHome(),
      ArrowLeft: () => view.panBy(-0.2, 0),
      ArrowRight: () => view.panBy(0.2, 0),
      ArrowUp: () => view.panBy(0, 0.2),
      ArrowDown: () => view.panBy(0, -0.2),
      p: () => this.header.pictures && this.set({ cells: next(["icons", "pictures"], state.cells) }),
      s: () => this.set({ points: next(["off", "over", "only"], state.points) }),
      d: () => this.set({ density: !state.density }),
      "[": () => this._lockBy(-1),
      "]": () => this._lockBy(1),
      a: () => this.set({ locked: null }),
      "?": () => this.chrome.toggleHelp(),
      Escape: () => this._escape(),
    };
  }

  _lockBy(step) {
    const levels = this.tiles.levelsOf(this.state.layer).map(({ level }) => level);
    const now = this.state.locked ?? this.level?.level;
    const wanted = levels[levels.indexOf(now) + step];
    if (wanted !== undefined) this.set({ locked: wanted });
  }

  _escape() {
    if (this.state.selected !== null) this.select(null);
    else if (this.state.only !== null) this.set({ only: null });
    else this.chrome.toggleHelp(false);
  }
}

/** Mount the explorer into its figure, once the figure has a view. */
function mountExplorer(parts) {
  const plot = window.Bokeh.index.find_one(parts.figure);
  if (!plot || plot.el.dataset.atlas) return;
  const explorer = new Explorer({ ...parts, plot });
  plot.el.atlasExplorer = explorer;
}
