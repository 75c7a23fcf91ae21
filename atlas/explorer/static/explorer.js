/* The explorer: one state, and what follows from a change of it. Mounted once into a Bokeh figure.
 *
 * painter.js puts the state on the screen, input.js and pointer.js turn keys and pointer into changes of it, address.js
 * keeps the page's URL alike, showing.js fills the panel, and parts.js says what each part may ask for. */

const MINIMUM_PANEL_PX = 820; // of the figure's width: below it the panel opens over the map

class Explorer {
  constructor({ figure, plot, mark, header, inline }) {
    Object.assign(this, { figure, plot, mark, header });
    this.first = firstLook(header);
    this.address = new AddressBar(header, (text) => this.goTo(readAddress(text, header, this.first)));
    const wanted = readAddress(this.address.usable ? this.address.text : "", header, this.first);
    this.state = { ...wanted.state, first: this.first };
    this.standing = [];
    this.selectedSamples = null; // columns of the samples in the region, null while they are on their way
    this.shards = new Shards({ home: header.home, asks: header.asks, token: header.token, inline, changed: (key) => this._shardChanged(key) });
    this.tiles = new TileLayer(header, this.shards, () => this._shardChanged("decoded"));
    this.tables = new CellTables(header, this.shards);
    this.columns = new Columns(header, this.shards);
    this.regions = new Regions(header, () => this._showRegions());
    this.suspectMarks = header.suspects === null ? null : new SuspectMarks(header, () => this._suspectsTold());
    this.suspectMap = new SuspectMap(header, this.shards);
    this.panes = [new Pane(this, 0), new Pane(this, 1)];
    this.active = this.panes[0]; // the map that keys move: the one last pointed at
    this.links = new Links(this);
    Object.assign(this, makeParts(this));
    this.painter = new Painter(this);
    this._build();
    this._makeViews();
    this.input = new Input(this);
    this.pointers = [new Pointer(this, this.panes[0], plot.el), new Pointer(this, this.panes[1], this.beside.element)];
    this.set({});
    this._fit();
    this._showViews(wanted);
    this.regions.load().catch(() => {});
    this.suspectMarks?.load().catch(() => {});
  }

  get layer() {
    return this.panes[0].about;
  }

  get view() {
    return this.panes[0].view;
  }

  /** The level now shown, an entry of the layer's levels, or null. */
  get level() {
    return this.panes[0].level;
  }

  get book() {
    return this.panes[0].book;
  }

  get places() {
    return this.panes[0].places;
  }

  /** The map that the selection was made on. */
  get selectedPane() {
    return this.panes[this.state.pane];
  }

  get addressText() {
    const [span, there] = this.panes.map(({ view }) => (view.size === null || view.isHome ? null : view.span));
    return writeAddress(this.state, span, this.links.isOpen && !this.links.together ? there : null, this.header);
  }

  // ---- elements ----

  _build() {
    const { head, overlay, status, card, help } = this.chrome;
    overlay.append(this.minimap.element);
    this.over = h("div", { class: "over" }, head, this.beside.element, this.panel.element, overlay, status, this.walk.element, card, help, this.reader.element);
    const root = this.plot.el.shadowRoot;
    root.prepend(this.panes[0].under);
    root.append(this.over);
    this.plot.el.dataset.atlas = "mounted";
    this.plot.canvas_view.events_el.style.outline = "none"; // the map has no other place to put the focus
    this.network?.listen(this.plot.el, () => this.state.layer);
    if (this.network) this.over.append(this.network.input);
    const resized = new ResizeObserver(() => this._fit());
    for (const part of [this.plot.el, head, status, this.panel.element, this.walk.element]) resized.observe(part);
    const shown = new ResizeObserver(() => this._stand());
    for (const part of this._overMap()) shown.observe(part);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.set({}));
  }

  /** Elements that stand over the maps: tools, levels, the small map. */
  _overMap() {
    return this.over.querySelectorAll(".level-line, .tools, .zoom, .minimap");
  }

  /** Look where they are, {x, y, width, height} in CSS pixels of the figure: asked in every frame it would cost layouts. */
  _stand() {
    const outer = this.plot.el.getBoundingClientRect();
    const boxes = [...this._overMap()].map((part) => part.getBoundingClientRect()).filter(({ width }) => width > 0);
    this.standing = boxes.map(({ left, top, width, height }) => ({ x: left - outer.left, y: top - outer.top, width, height }));
    this.repaint();
  }

  /** The first view is Bokeh's ranges in its frame, the second has ranges of its own in the box that is left for it. */
  _makeViews() {
    const { figure, plot, beside } = this;
    const places = [
      [figure, plot],
      [{ x_range: new Extent(), y_range: new Extent() }, { el: plot.el, frame: { get bbox() { return beside.box; } } }],
    ];
    this.panes.forEach((pane, number) => {
      const { levels, bounds, corner } = pane.about ?? this.layer;
      pane.view = new View(...places[number], { deepestSide: levels.at(-1)?.side ?? 8, home: bounds, corner, changed: () => this._viewChanged(pane) });
    });
  }

  /** Leave room around Bokeh's frame for header, panel, status line and the second map, and fit the canvases to it. */
  _fit() {
    const { figure, plot } = this;
    const { head, status } = this.chrome;
    const narrow = plot.el.clientWidth < MINIMUM_PANEL_PX * (parseFloat(getComputedStyle(this.over).fontSize) / 14);
    this.over.classList.toggle("narrow", narrow);
    this.chrome.layHead();
    const side = narrow ? 0 : this.panel.element.offsetWidth;
    const dock = this.walk.element.offsetHeight; // 0 while it is closed
    const foot = status.offsetHeight + dock;
    const area = { left: 0, top: head.offsetHeight, width: plot.el.clientWidth - side, height: plot.el.clientHeight - head.offsetHeight - foot };
    const taken = this.beside.place(this.links.isOpen, area);
    const wanted = {
      min_border_top: head.offsetHeight,
      min_border_right: side + taken.right,
      min_border_bottom: foot + taken.below,
      min_border_left: 0,
    };
    const lengths = { "--head": head.offsetHeight, "--foot": status.offsetHeight, "--dock": dock, "--side-panel": side, "--beside-right": taken.right, "--beside-below": taken.below };
    for (const [name, value] of Object.entries(lengths)) this.over.style.setProperty(name, `${value}px`);
    const changed = Object.entries(wanted).filter(([name, value]) => figure[name] !== value);
    if (changed.length > 0) {
      figure.setv(Object.fromEntries(changed), { silent: true }); // each of them would lay the figure out anew
      figure.properties[changed[0][0]].change.emit();
    }
    this.view.fitFrame();
    if (this.links.isOpen) this._fitBeside();
    this._stand();
  }

  _fitBeside() {
    const { view } = this.panes[1];
    const opened = view.size === null;
    view.fitFrame();
    if (opened && this.links.together && this.view.centre !== null) view.show(this.view.centre);
  }

  // ---- state ----

  set(changes) {
    const before = this.state;
    this.state = { ...before, ...changes };
    const { state } = this;
    if (state.beside === null && state.pane === 1) Object.assign(state, { pane: 0, selected: null, region: [] });
    if (state.layer !== before.layer || state.beside !== before.beside) this._layersChanged(before, changes);
    if (changes.selected && changes.region === undefined) state.region = [];
    if (changes.region?.length > 0) state.selected = null;
    this.selectedSamples = this._same(before, "region", "filter", "layer", "beside", "pane") ? this.selectedSamples : null;
    this.painter.takeLook();
    if (state.walk !== before.walk || !this.walk.isOpen) this.walk.show(state.walk, this.panes);
    this.showPanel(!this._same(before, "selected", "region", "layer", "beside", "pane", "suspect"));
    if (!this._same(before, "together", "beside", "layer") && this.links.together && this.panes[1].view.size !== null) this._follow(this.panes[0]);
    this.repaint();
    this._writeAddress();
  }

  _same(before, ...names) {
    return names.every((name) => JSON.stringify(before[name]) === JSON.stringify(this.state[name]));
  }

  _layersChanged(before, changes) {
    const { state, header } = this;
    for (const pane of this.panes) {
      if (pane.layer === null) continue;
      Object.assign(pane.view, { bounds: pane.about.bounds, corner: pane.about.corner });
      Object.assign(pane, { hovered: null, pointed: -1 });
    }
    const [was, is] = [before, state].map(({ pane, layer, beside }) => header.layers[pane === 0 ? layer : beside]);
    // In one layout a cell is the same place in every layer, as in the checkpoints of a diff.
    if (was && is && was !== is && !this.links.alike(was, is) && changes.selected === undefined) state.selected = null;
    if (was !== is && changes.walk === undefined) state.walk = null;
    if (!colourModes(header, this.layer).some(([mode]) => mode === state.colour)) state.colour = this.first.colour;
    if ((state.beside === null) !== (before.beside === null)) this._besideToggled();
    const marked = this.marked ?? null; // an image keeps its marks, at its places in the new layer
    if (marked !== null || this.panes.some(({ places }) => places !== null)) this.showPlaces(marked);
  }

  _besideToggled() {
    if (this.state.beside === null) Object.assign(this, { active: this.panes[0] });
    else this.panes[1].view.size = null;
    this._fit();
  }

  /** Open a second map, of the next layer, or close it. */
  toggleBeside() {
    const { layers } = this.header;
    if (layers.length > 1) this.set({ beside: this.state.beside === null ? (this.state.layer + 1) % layers.length : null });
  }

  /** Go to the layer before or after on the map that was last pointed at. */
  stepLayer(step) {
    const name = this.active.number === 0 ? "layer" : "beside";
    const wanted = this.state[name] + step;
    if (wanted >= 0 && wanted < this.header.layers.length) this.set({ [name]: wanted });
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

  /** Select a cell as found by TileLayer.cellAt on a map, or nothing. */
  select(found, pane = this.state.pane) {
    this.set({ selected: found && { level: found.level.level, column: found.column, row: found.row }, region: [], pane });
  }

  /** The selected cell as TileLayer.cellAt gives it; null where there is none, undefined while its tile is on its way. */
  selectedCell() {
    const { selected } = this.state;
    const pane = this.selectedPane;
    const level = selected && pane.about.levels.find((one) => one.level === selected.level);
    if (!level) return null;
    const found = pane.cellAt(level, (selected.column + 0.5) / level.side, (selected.row + 0.5) / level.side);
    return found ?? (this.tiles.awaits(pane.layer, level, selected.column, selected.row) ? undefined : null);
  }

  goTo(wanted) {
    this.set(wanted.state);
    this._showViews(wanted, true);
  }

  _showViews({ view, there }, fly = false) {
    [view, there].forEach((span, number) => {
      const pane = this.panes[number];
      if (pane.layer === null || (number === 1 && this.links.together)) return;
      if (span !== null) (fly ? pane.view.flySpan(span) : pane.view.showSpan(span));
      else if (fly) pane.view.goHome();
    });
  }

  _writeAddress() {
    if (this.view.size === null) return;
    const { layer, beside, pane, together, colour, effect, filter, selected, region, cells, points, locked, walk, suspect } = this.state;
    this.address.write(this.addressText, JSON.stringify([layer, beside, pane, together, colour, effect, filter, selected, region, cells, points, locked, walk, suspect]));
  }

  _viewChanged(pane) {
    if (this.links.together && !this.following) this._follow(pane);
    this.repaint();
    this.pointers?.[pane.number].hoverLater();
    this._writeAddress();
  }

  /** Bring the other map to the view of this one. */
  _follow(pane) {
    const other = this.panes[1 - pane.number];
    if (other.view?.size === null || pane.view?.centre === null) return;
    this.following = true;
    other.view.show(pane.view.centre);
    this.following = false;
  }

  _shardChanged(key) {
    this.panel.refresh(key);
    this.selection.refresh(key);
    this.suspectPanel?.refresh(key);
    this.walk.refresh();
    this.finder?.refresh();
    this.chrome.refresh();
    if (/^(points|column|values)\//.test(key) && this.selectedSamples === null) this.showPanel(false);
    if (this.panel.content === "waiting") this.showPanel(false);
    for (const pointer of this.pointers ?? []) pointer.hoverLater();
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
}

/** How a page without an address opens: a comparison with its first and last network, and the samples in the colours of
 * its first column. */
function firstLook(header) {
  const { diff, layers } = header;
  if (diff === null || header.columns.length === 0) return { colour: colourModes(header, layers[0])[0][0], points: "off", beside: null };
  return { colour: "column0", points: "over", beside: layers.length > 1 ? layers.length - 1 : null };
}

/** Mount the explorer into its figure, once the figure has a view. */
function mountExplorer(parts) {
  const plot = window.Bokeh.index.find_one(parts.figure);
  if (!plot || plot.el.dataset.atlas) return;
  meetKernel(parts.header);
  const explorer = new Explorer({ ...parts, plot });
  plot.el.atlasExplorer = explorer;
}
