/* Keys: what the user does without a pointer, as changes of the explorer's state. */

const LEGEND_MS = 200;

class Input {
  constructor(explorer) {
    this.explorer = explorer;
    this.tool = "move";
    this.pen = new PenKeys(explorer);
    this.pen.reset();
    document.addEventListener("keydown", (event) => this._key(event));
  }

  /** Take up a tool: "move", "box", "lasso" or "walk". */
  take(tool) {
    const { explorer } = this;
    this.tool = tool;
    this.pen.reset();
    for (const { pencil } of explorer.pointers) {
      pencil.tool = tool;
      pencil.stop();
    }
    explorer.chrome.showTool(tool);
    if (tool !== "move") explorer.plot.canvas_view.events_el.focus(); // a button in focus would take Space and Enter
    const cursor = tool === "move" ? "" : "crosshair";
    explorer.plot.canvas_view.events_el.style.cursor = cursor;
    explorer.beside.element.style.cursor = cursor;
  }

  _key(event) {
    const field = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = field?.tagName === "TEXTAREA" || field?.tagName === "SELECT" || (field?.tagName === "INPUT" && !["checkbox", "range"].includes(field.type));
    if (typing && event.key !== "Escape") return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // A button in focus keeps its Enter, a slider its arrows.
    if ((name === "Enter" && /^(BUTTON|SUMMARY)$/.test(field?.tagName)) || (field?.type === "range" && name.startsWith("Arrow"))) return;
    if (this.tool !== "move" && !typing && this.pen.take(name, event.shiftKey)) {
      event.preventDefault();
      return;
    }
    const act = this._acts(event.shiftKey)[name];
    if (act === undefined) return;
    event.preventDefault();
    if (typing) field.blur();
    act();
  }

  _acts(shift) {
    const { explorer } = this;
    const { state } = explorer;
    const { view } = explorer.active; // of the map last pointed at
    const next = (values, value) => values[(values.indexOf(value) + 1) % values.length];
    const arrow = (right, up) => () => (shift ? this._step(right, up) : view.panBy(0.2 * right, 0.2 * up));
    const zoomIn = () => view.zoomBy(1.6);
    return {
      "+": zoomIn,
      "=": zoomIn,
      "-": () => view.zoomBy(1 / 1.6),
      0: () => view.goHome(),
      ArrowLeft: arrow(-1, 0),
      ArrowRight: arrow(1, 0),
      ArrowUp: arrow(0, 1),
      ArrowDown: arrow(0, -1),
      Enter: () => explorer.select(explorer.active.found({ x: view.frame.width / 2, y: view.frame.height / 2 }), explorer.active.number),
      f: () => explorer.fit(),
      p: () => explorer.header.pictures && explorer.set({ cells: next(SHOWN, state.cells) }),
      s: () => explorer.set({ points: next(SAMPLES, state.points) }),
      d: () => explorer.set({ density: !state.density }),
      n: () => explorer.set({ names: !state.names }),
      c: () => explorer.colour(next(colourModes(explorer.header, explorer.layer).map(([mode]) => mode), state.colour)),
      x: () => explorer.header.aligned && explorer.set({ filter: { ...state.filter, wrong: !state.filter.wrong } }),
      "/": () => this._search(explorer.overview.filters.search),
      i: () => explorer.finder && this._search(explorer.finder.input),
      ...Object.fromEntries(TOOLS.map(([tool, , , key]) => [key, () => this.take(tool)])),
      e: () => explorer.header.diff?.floored && explorer.set({ floor: !state.floor }),
      ...(explorer.header.suspects === null ? {} : this._suspectActs()),
      t: () => explorer.toggleBeside(),
      g: () => explorer.links.isOpen && explorer.set({ together: !explorer.links.together }),
      m: () => explorer.links.isOpen && this._otherMap(),
      ",": () => explorer.stepLayer(-1),
      ".": () => explorer.stepLayer(1),
      "[": () => this._lockBy(-1),
      "]": () => this._lockBy(1),
      a: () => explorer.set({ locked: null }),
      r: () => explorer.chrome.look(),
      u: () => explorer.address.usable && explorer.share(),
      "?": () => explorer.chrome.toggleHelp(),
      Escape: () => explorer.escape(),
    };
  }

  /** Let keys move the other map, as pointing at it does. */
  _otherMap() {
    const { explorer } = this;
    explorer.active = explorer.panes[1 - explorer.active.number];
    this.pen.reset();
    explorer.chrome.say(`Keys move the ${explorer.active.number === 0 ? "first" : "second"} map: ${explorer.active.about.name}.`);
    explorer.repaint();
  }

  _suspectActs() {
    const { explorer } = this;
    const { state } = explorer;
    const says = state.suspect === null ? [] : JUDGEMENTS.map(([mark], i) => [i + 1, () => explorer.suspectPanel.mark(mark)]);
    return {
      j: () => explorer.stepSuspect(1),
      k: () => explorer.stepSuspect(-1),
      o: () => explorer.set({ outlines: !state.outlines }),
      ...Object.fromEntries(says),
    };
  }

  /** Select the cell beside the selected one, the nearest in that direction that there is. */
  _step(right, up) {
    const { explorer } = this;
    const { selected } = explorer.state;
    const pane = explorer.selectedPane;
    const level = selected && pane.about.levels.find((one) => one.level === selected.level);
    if (!level) return;
    for (let n = 1; n < level.side; n++) {
      const [x, y] = [(selected.column + n * right + 0.5) / level.side, (selected.row + n * up + 0.5) / level.side];
      const found = pane.cellAt(level, x, y);
      if (found === null) continue;
      explorer.select(found);
      pane.view.keepInSight(x, y);
      return;
    }
  }

  _search(field) {
    const { explorer } = this;
    if (explorer.panel.content !== "overview") explorer.set({ selected: null, region: [] });
    field.focus();
    field.select();
    // A legend above it that comes a moment later pushes it out of sight.
    setTimeout(() => isFocused(field) && field.scrollIntoView({ block: "nearest" }), LEGEND_MS);
  }

  _lockBy(step) {
    const { explorer } = this;
    const { active } = explorer;
    const levels = explorer.tiles.levelsOf(active.layer).map(({ level }) => level);
    const now = explorer.state.locked ?? active.level?.level;
    const wanted = levels[levels.indexOf(now) + step];
    if (wanted !== undefined) explorer.set({ locked: wanted });
  }
}
