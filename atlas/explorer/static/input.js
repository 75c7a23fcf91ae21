/* Keys and pointer: what the user does, as changes of the explorer's state. */

const RESTING_MS = 70;

class Input {
  constructor(explorer) {
    this.explorer = explorer;
    this.pointer = null; // its place in the frame in CSS pixels
    const { el } = explorer.plot;
    this.pencil = new Pencil(el, {
      place: (event, anywhere) => this._worldPlace(event, anywhere),
      done: (tool, path, adding) => this._drawn(tool, path, adding),
      drawing: () => {
        explorer.chrome.hideCard();
        explorer.repaint();
      },
    });
    el.addEventListener("pointermove", (event) => this._moved(event));
    el.addEventListener("pointerleave", () => {
      this.pointer = null;
      this._hover(null);
    });
    el.addEventListener("pointerdown", (event) => (this.pressed = [event.clientX, event.clientY]));
    el.addEventListener("pointerup", (event) => this._released(event));
    document.addEventListener("keydown", (event) => this._key(event));
  }

  /** Take up a tool: "move", "box", "lasso" or "walk". */
  take(tool) {
    const { explorer } = this;
    this.pencil.tool = tool;
    this.pencil.stop();
    explorer.chrome.showTool(tool);
    explorer.plot.canvas_view.events_el.style.cursor = tool === "move" ? "" : "crosshair";
  }

  _drawn(tool, path, adding) {
    const { explorer } = this;
    this.pointer = null; // a card of where the drawing ended would hide what was drawn
    this._hover(null);
    const pixel = 1 / explorer.view.scale;
    if (tool === "walk") {
      const level = explorer.level;
      if (level !== null) explorer.walk.open(simplified(path, pixel), explorer.state.layer, level, (x, y) => explorer.tiles.cellAt(explorer.state.layer, level, x, y));
    } else {
      const outline = tool === "box" ? boxOutline(path) : simplified(path, 1.5 * pixel);
      if (outline.length > 2) explorer.set({ region: adding ? [...explorer.state.region, outline] : [outline], selected: null });
    }
    this.take("move");
  }

  /** A pointer event's place in the frame in CSS pixels, or null outside it or on what stands around the map. */
  _place(event) {
    const { view, plot, over } = this.explorer;
    const outer = plot.el.getBoundingClientRect();
    const { left, top, width, height } = view.frame;
    const [x, y] = [event.clientX - outer.left - left, event.clientY - outer.top - top];
    const onChrome = event.composedPath().some((element) => element === over);
    return onChrome || x < 0 || y < 0 || x > width || y > height ? null : { x, y };
  }

  _worldPlace(event, anywhere = false) {
    const { view, plot } = this.explorer;
    if (!anywhere && this._place(event) === null) return null;
    const outer = plot.el.getBoundingClientRect();
    const { left, top } = view.frame;
    return { x: view.worldX(event.clientX - outer.left - left), y: view.worldY(event.clientY - outer.top - top) };
  }

  _moved(event) {
    this.pointer = event.buttons === 0 ? this._place(event) : null;
    this.hoverLater();
  }

  /** Look again at what is under the pointer: it has moved, or the map under it has. */
  hoverLater() {
    if (this.asked || this.pencil.path !== null || this.explorer.walk.element.matches(":hover")) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this._hover(this.pointer);
    });
  }

  /** A hand that rests on a cell may click it next: ask for its details and patches before it does. */
  _expect(found) {
    clearTimeout(this.expecting);
    if (found === null) return;
    this.expecting = setTimeout(async () => {
      const { shards, header } = this.explorer;
      const detail = await shards.wait(`detail/${found.tile.key}`);
      if (!header.pictures) return;
      for (const { page } of detail?.cells[found.slot]?.patches ?? []) shards.get(`patch/${found.layer}/${page[0]}`);
    }, RESTING_MS);
  }

  _found({ x, y }) {
    const { view, level, tiles, state } = this.explorer;
    return level === null ? null : tiles.cellAt(state.layer, level, view.worldX(x), view.worldY(y));
  }

  _hover(place) {
    const { explorer } = this;
    const { view, state, chrome } = explorer;
    if (view.size === null) return;
    const { left, top } = view.frame;
    const points = state.points === "off" ? null : explorer.painter.points;
    const nearest = place && points ? points.nearest(view, place.x, place.y) : -1;
    const found = place === null || nearest >= 0 ? null : this._found(place);
    if (found?.tile !== explorer.hovered?.tile || found?.slot !== explorer.hovered?.slot) this._expect(found);
    explorer.hovered = found;
    explorer.painter.ring();
    if (nearest >= 0) {
      const image = points.image[nearest];
      const content = pointCard(image, explorer.shards, explorer.header);
      if (content !== null) chrome.showCard(`image ${image}`, left + place.x, top + place.y, () => content);
    } else if (found !== null && state.points !== "only") {
      const ready = (found.cell.icon ? found.tile.icons : found.tile.real)?.image ? "ready" : "";
      chrome.showCard(`${found.tile.key}/${found.slot}/${ready}`, left + place.x, top + place.y, () => cellCard(found, explorer.header, explorer.tiles));
    } else chrome.hideCard();
  }

  _released(event) {
    const place = this._place(event);
    if (place === null || !this.pressed || event.button !== 0) return;
    const moved = Math.hypot(event.clientX - this.pressed[0], event.clientY - this.pressed[1]);
    if (moved <= 4) this.explorer.select(this._found(place));
  }

  _key(event) {
    const field = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = field?.tagName === "TEXTAREA" || field?.tagName === "SELECT" || (field?.tagName === "INPUT" && !["checkbox", "range"].includes(field.type));
    if (typing && event.key !== "Escape") return;
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // A button in focus keeps its Enter, a slider its arrows.
    if ((name === "Enter" && /^(BUTTON|SUMMARY)$/.test(field?.tagName)) || (field?.type === "range" && name.startsWith("Arrow"))) return;
    const act = this._acts(event.shiftKey)[name];
    if (act === undefined) return;
    event.preventDefault();
    if (typing) field.blur();
    act();
  }

  _acts(shift) {
    const { explorer } = this;
    const { state, view } = explorer;
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
      Enter: () => explorer.select(this._found({ x: view.frame.width / 2, y: view.frame.height / 2 })),
      f: () => explorer.fit(),
      p: () => explorer.header.pictures && explorer.set({ cells: next(SHOWN, state.cells) }),
      s: () => explorer.set({ points: next(["off", "over", "only"], state.points) }),
      d: () => explorer.set({ density: !state.density }),
      n: () => explorer.set({ names: !state.names }),
      c: () => explorer.colour(next(colourModes(explorer.header, explorer.layer).map(([mode]) => mode), state.colour)),
      x: () => explorer.header.aligned && explorer.set({ filter: { ...state.filter, wrong: !state.filter.wrong } }),
      "/": () => this._search(explorer.overview.filters.search),
      i: () => explorer.finder && this._search(explorer.finder.input),
      ...Object.fromEntries(TOOLS.map(([tool, , , key]) => [key, () => this.take(tool)])),
      "[": () => this._lockBy(-1),
      "]": () => this._lockBy(1),
      a: () => explorer.set({ locked: null }),
      u: () => explorer.address.usable && explorer.share(),
      "?": () => explorer.chrome.toggleHelp(),
      Escape: () => explorer.escape(),
    };
  }

  /** Select the cell beside the selected one, the nearest in that direction that there is. */
  _step(right, up) {
    const { explorer } = this;
    const { selected, layer } = explorer.state;
    const level = selected && explorer.layer.levels.find((one) => one.level === selected.level);
    if (!level) return;
    for (let n = 1; n < level.side; n++) {
      const [x, y] = [(selected.column + n * right + 0.5) / level.side, (selected.row + n * up + 0.5) / level.side];
      const found = explorer.tiles.cellAt(layer, level, x, y);
      if (found === null) continue;
      explorer.select(found);
      explorer.view.keepInSight(x, y);
      return;
    }
  }

  _search(field) {
    const { explorer } = this;
    if (explorer.panel.content !== "overview") explorer.set({ selected: null, region: [] });
    field.focus();
    field.select();
  }

  _lockBy(step) {
    const { explorer } = this;
    const levels = explorer.tiles.levelsOf(explorer.state.layer).map(({ level }) => level);
    const now = explorer.state.locked ?? explorer.level?.level;
    const wanted = levels[levels.indexOf(now) + step];
    if (wanted !== undefined) explorer.set({ locked: wanted });
  }
}
