/* The explorer: one state, and what follows from a change of it. Mounted once into a Bokeh figure.
 *
 * painter.js puts the state on the screen, input.js turns keys and pointer into changes of it, address.js keeps the
 * page's URL alike. */

const MINIMUM_PANEL_PX = 640; // of the figure's width: below it the panel opens over the map

class Explorer {
  constructor({ figure, plot, mark, header, inline }) {
    Object.assign(this, { figure, plot, mark, header });
    this.first = { colour: colourModes(header, header.layers[0])[0][0] };
    this.address = new AddressBar(header, (text) => this._goTo(readAddress(text, header, this.first)));
    const wanted = readAddress(this.address.usable ? this.address.text : "", header, this.first);
    this.state = { ...wanted.state, firstColour: this.first.colour };
    this.books = new Map();
    this.hovered = null;
    this.places = null; // of one image: {image, id, x: [], y: []}
    this.selectedSamples = null; // columns of the samples in the region, null while they are on their way
    this.shards = new Shards({ home: header.home, asks: header.asks, token: header.token, inline, changed: (key) => this._shardChanged(key) });
    this.tiles = new TileLayer(header, this.shards, () => this._shardChanged("decoded"));
    this.tables = new CellTables(header, this.shards);
    this.regions = new Regions(header, () => this._showRegions());
    this._makeParts();
    this.painter = new Painter(this);
    this._build();
    this.view = new View(figure, plot, {
      deepestSide: this.layer.levels.at(-1)?.side ?? 8,
      home: this.layer.bounds,
      changed: () => this._viewChanged(),
    });
    this.input = new Input(this);
    this.set({});
    this._fit();
    if (wanted.view !== null) this.view.showSpan(wanted.view);
    this.regions.load().catch(() => {});
  }

  _makeParts() {
    const { header, shards } = this;
    this.network = !header.network ? null : new Network(header, {
      opened: (places, name) => this._showPicture(places, name),
      closed: () => this._showPicture(null, ""),
      focus: (index) => this._focusPlace(index),
      go: (place) => this._goToPlace(place),
    });
    this.panel = new Panel(header, shards, this.tiles, {
      fine: this.network && ((found) => this.network.fineElement(found)),
      close: () => this.select(null),
      image: (image) => this.showPlaces(image),
      cell: (column, row) => this.set({ selected: { ...this.state.selected, column, row } }),
    });
    this.finder = canFindImages(header) ? new ImageFinder(header, shards, (image) => this._findImage(image)) : null;
    this.overview = new Overview(header, {
      set: (changes) => this.set(changes),
      filter: (changes) => this.set({ filter: { ...this.state.filter, ...changes } }),
    }, this.finder);
    this.selection = new SelectionPanel(header, shards, {
      close: () => this.set({ region: [] }),
      fit: () => this.fit(),
      image: (image) => this.showPlaces(image),
      level: () => this.level ?? { level: 0, side: 8 },
      keep: (name, note) => this.regions.keep({ name, note, layer: this.layer.name, outlines: this.state.region, address: this.addressText }),
      parquet: header.asks ? (rows) => this._parquet(rows) : null,
    });
    this.walk = new Walk(header, shards, this.tiles, {
      close: () => this.walk.close(),
      point: (found) => {
        this.hovered = found;
        this.painter.ring();
      },
      open: (found) => this.select(found),
    });
    this.minimap = new Minimap((x, y) => this.view.show({ ...this.view.centre, x, y }));
    this.chrome = new Chrome(header, {
      set: (changes) => this.set(changes),
      colour: (colour) => this.colour(colour),
      tool: (tool) => this.input.take(tool),
      zoom: (factor) => this.view.zoomBy(factor),
      home: () => this.view.goHome(),
      share: () => this.share(),
      panel: () => {
        this.panelWanted = !this.panelWanted;
        this._showPanel(false);
      },
      save: (kind) => this.painter.save(kind),
      places: (fit) => (fit ? this.fit() : this.showPlaces(null)),
      picture: this.network && (() => this.network.choose()),
    });
  }

  get layer() {
    return this.header.layers[this.state.layer];
  }

  /** The level now shown, an entry of the layer's levels, or null. */
  get level() {
    return this.tiles.levelFor(this.state.layer, this.view.scale, this.state.locked);
  }

  get book() {
    const { layer } = this.state;
    if (!this.books.has(layer)) this.books.set(layer, new PointBook(this.header, this.shards, layer));
    return this.books.get(layer);
  }

  get addressText() {
    return writeAddress(this.state, this.view.isHome || this.view.size === null ? null : this.view.span);
  }

  // ---- elements ----

  _build() {
    const { head, overlay, status, card, help } = this.chrome;
    overlay.append(this.minimap.element);
    this.over = h("div", { class: "over" }, head, this.panel.element, overlay, status, this.walk.element, card, help);
    const root = this.plot.el.shadowRoot;
    root.prepend(this.painter.under);
    root.append(this.over);
    this.plot.el.dataset.atlas = "mounted";
    this.plot.canvas_view.events_el.style.outline = "none"; // the map has no other place to put the focus
    this.network?.listen(this.plot.el, () => this.state.layer);
    if (this.network) this.over.append(this.network.input);
    const resized = new ResizeObserver(() => this._fit());
    for (const part of [this.plot.el, head, status, this.panel.element]) resized.observe(part);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.set({}));
  }

  /** Leave room around Bokeh's frame for header, panel and status line, and fit the canvases to the frame. */
  _fit() {
    const { figure, plot } = this;
    const { head, status } = this.chrome;
    const narrow = plot.el.clientWidth < MINIMUM_PANEL_PX * (parseFloat(getComputedStyle(this.over).fontSize) / 14);
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
    const before = this.state;
    this.state = { ...before, ...changes };
    const { state } = this;
    if (state.layer !== before.layer) {
      this.view.bounds = this.layer.bounds;
      if (changes.selected === undefined) state.selected = null;
      if (!colourModes(this.header, this.layer).some(([mode]) => mode === state.colour)) state.colour = this.first.colour;
      this.showPlaces(null);
      this.walk.close();
    }
    if (changes.selected && changes.region === undefined) state.region = [];
    if (changes.region?.length > 0) state.selected = null;
    this.selectedSamples = this._same(before, "region", "filter", "layer") ? this.selectedSamples : null;
    this.painter.takeLook();
    this._showPanel(!this._same(before, "selected", "region", "layer"));
    this.repaint();
    this._writeAddress();
  }

  _same(before, ...names) {
    return names.every((name) => JSON.stringify(before[name]) === JSON.stringify(this.state[name]));
  }

  /** Colour by a mode: samples appear for what is known of samples alone. */
  colour(colour) {
    const { points, effect } = this.state;
    const ofCells = CELL_MODES.includes(colour);
    this.set({
      colour,
      points: points === "off" && !ofCells ? "over" : points,
      effect: colour === "effect" && effect === null ? this._commonestClass() : effect,
    });
  }

  _commonestClass() {
    const { selected } = this.state;
    const shown = selected === null ? null : this.panel.shown;
    if (shown?.cell.effects.length > 0) return shown.cell.effects[0][0];
    return 0;
  }

  /** Select a cell as found by TileLayer.cellAt, or nothing. */
  select(found) {
    this.set({ selected: found && { level: found.level.level, column: found.column, row: found.row }, region: [] });
  }

  /** The selected cell as TileLayer.cellAt gives it, or null while its tile is on its way. */
  selectedCell() {
    const { selected, layer } = this.state;
    const level = selected && this.layer.levels.find((one) => one.level === selected.level);
    if (!level) return null;
    return this.tiles.cellAt(layer, level, (selected.column + 0.5) / level.side, (selected.row + 0.5) / level.side);
  }

  _goTo({ state, view }) {
    this.set(state);
    if (view === null) this.view.goHome();
    else this.view.flySpan(view);
  }

  _writeAddress() {
    if (this.view.size === null) return;
    const { state } = this;
    const step = JSON.stringify([state.layer, state.colour, state.effect, state.filter, state.selected, state.region, state.cells, state.points, state.locked]);
    this.address.write(this.addressText, step);
  }

  _viewChanged() {
    this.repaint();
    this.input?.hoverLater();
    this._writeAddress();
  }

  _shardChanged(key) {
    this.panel.refresh(key);
    this.selection.refresh(key);
    this.walk.refresh();
    this.finder?.refresh();
    if (key.startsWith("points/") && this.selectedSamples === null) this._showPanel(false);
    if (this.panel.content === "waiting") this._showPanel(false);
    this.input?.hoverLater();
    this.repaint();
  }

  repaint() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame((now) => {
      this.asked = false;
      this.painter.paint(now);
    });
  }

  // ---- the panel ----

  _showPanel(changed) {
    const { state, panel } = this;
    const open = state.selected !== null || state.region.length > 0 || Boolean(this.network?.isOpen);
    this.over.classList.toggle("open", open || Boolean(this.panelWanted)); // it says so only in a narrow window
    if (state.region.length > 0) this._showSelection();
    else if (state.selected !== null) {
      const found = this.selectedCell();
      if (found !== null && (changed || panel.content !== "cell")) panel.showCell(found);
      else if (found === null && changed) panel.showWaiting();
    } else if (this.network?.isOpen) {
      if (panel.content !== "picture") panel.showOnly("picture", [this.network.element]);
    } else if (panel.content !== "overview") panel.showOnly("overview", [this.chrome.welcome, ...this.overview.body]);
    this.painter.ring();
    tellKernel(this);
  }

  _showSelection() {
    const { state, panel } = this;
    if (panel.content !== "selection") panel.showOnly("selection", [this.selection.element]);
    if (this.selectedSamples === null) {
      this.selectedSamples = this._samplesIn(state.region);
      this.selection.show(this.selectedSamples, state.layer, state);
    }
  }

  /** Columns of the layer's samples inside outlines that pass the filter, or null while some are on their way. */
  _samplesIn(outlines) {
    const all = this.book.within(boxAround(outlines));
    if (all === null) return null;
    const table = this.state.filter.images > 1 && this.level ? this.tables.get(this.state.layer, this.level) : null;
    const live = liveSamples(this.header, all, this.state.filter, table);
    return pickColumns(all, (i) => live[i] === 1 && outlines.some((outline) => isInside(all.x[i], all.y[i], outline)));
  }

  /** What the overview says, a moment after view or filter have changed. */
  overviewLater() {
    clearTimeout(this.overviewTimer);
    this.overviewTimer = setTimeout(() => {
      if (this.panel.content !== "overview" || this.view.size === null) return;
      const { points } = this.painter;
      const census = points?.census(this.view) ?? null;
      this.overview.show({ census, points, book: this.book, state: this.state, passing: this.painter.passing, cells: this.painter.cells });
    }, 60);
  }

  _showRegions() {
    const open = (region) => this._goTo(readAddress(region.address, this.header, this.first));
    const drop = (region) => this.regions.drop(region).catch(() => {});
    this.overview.showRegions(this.regions.all, open, drop, this.regions.where);
  }

  // ---- what is asked for ----

  /** Mark where an image's samples lie, or with null nothing. */
  async showPlaces(image) {
    this.places = null;
    this.chrome.showPlaces(null);
    if (this.finder && this.finder.image !== image) this.finder.show(null);
    if (image !== null) {
      const { layer } = this.state;
      const shard = Math.floor(image / IMAGES_PER_SHARD);
      const [places, records] = await Promise.all([this.shards.wait(`places/${layer}/${shard}`), this.shards.wait(`image/${shard}`)]);
      if (places === null || layer !== this.state.layer) return;
      const own = places.image.map((of, i) => i).filter((i) => places.image[i] === image);
      this.places = { image, x: own.map((i) => places.x[i]), y: own.map((i) => places.y[i]) };
      this.chrome.showPlaces(this.places, records?.ids[image % IMAGES_PER_SHARD] ?? `image ${image}`);
    }
    this.repaint();
  }

  async _findImage(image) {
    await this.showPlaces(image);
    if (this.places?.x.length > 0) this.fit();
  }

  /** The user's own picture: its places on the map, null while they are sought or when it is closed. */
  _showPicture(places, name) {
    this.set({ selected: null, region: [] });
    this.showPlaces(null);
    this.places = places;
    this.chrome.showPlaces(places, name);
    this.repaint();
  }

  _focusPlace(index) {
    if (this.places === null) return;
    this.places.focus = index;
    this.repaint();
  }

  /** Go to one place of the user's picture, at the deepest level, and open the cell there. */
  _goToPlace({ x, y }) {
    const level = this.layer.levels.at(-1);
    const side = 6 / level.side;
    this.view.fit([x - side / 2, y - side / 2, x + side / 2, y + side / 2]);
    const at = (value) => Math.min(level.side - 1, Math.floor(value * level.side));
    this.set({ selected: { level: level.level, column: at(x), row: at(y) }, region: [] });
  }

  /** Zoom to what is marked: an image's samples, the region, the selected cell; else home. */
  fit() {
    const { region, selected } = this.state;
    const { places } = this;
    if (places !== null && places.x.length > 0) {
      const room = 1.5 / (this.layer.levels.at(-1)?.side ?? 8); // a single place is shown among its neighbours
      this.view.fit([Math.min(...places.x) - room, Math.min(...places.y) - room, Math.max(...places.x) + room, Math.max(...places.y) + room]);
    } else if (region.length > 0) this.view.fit(boxAround(region));
    else if (selected !== null) {
      const { side } = this.layer.levels.find((one) => one.level === selected.level);
      this.view.fit([(selected.column - 1) / side, (selected.row - 1) / side, (selected.column + 2) / side, (selected.row + 2) / side]);
    } else this.view.goHome();
  }

  async share() {
    this.address._write(this.addressText, this.address.steps);
    try {
      await navigator.clipboard.writeText(window.location.href);
      this.chrome.say("The link to this view is copied.");
    } catch {
      this.chrome.say("The browser does not let a page copy here: take the link from the address bar.");
    }
  }

  async _parquet(rows) {
    const { level } = this.level ?? { level: 0 };
    const answer = await askHome(`table/${this.header.token}/${this.state.layer}/${level}`, { method: "POST", body: rows, headers: { "Content-Type": "application/octet-stream" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.arrayBuffer();
  }

  escape() {
    const { state } = this;
    if (!this.chrome.help.hidden) this.chrome.toggleHelp(false);
    else if (this.input.pencil.tool !== "move") this.input.take("move");
    else if (this.walk.isOpen) this.walk.close();
    else if (this.network?.isOpen && state.selected === null) this.network.close();
    else if (this.places !== null) this.showPlaces(null);
    else if (state.selected !== null || state.region.length > 0) this.set({ selected: null, region: [] });
    else if (filtersAnything(state.filter)) this.set({ filter: { ...NO_FILTER } });
  }
}

/** Mount the explorer into its figure, once the figure has a view. */
function mountExplorer(parts) {
  const plot = window.Bokeh.index.find_one(parts.figure);
  if (!plot || plot.el.dataset.atlas) return;
  meetKernel(parts.header);
  const explorer = new Explorer({ ...parts, plot });
  plot.el.atlasExplorer = explorer;
}
