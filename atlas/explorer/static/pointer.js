/* The pointer over one map: what it rests on, what it clicks, what it draws. */

const RESTING_MS = 70;
const WHEEL_STEP = 1 / 600; // as Bokeh's wheel zoom: both maps feel alike

class Pointer {
  /** element: where the map's events arrive. */
  constructor(explorer, pane, element) {
    Object.assign(this, { explorer, pane });
    this.pointer = null; // its place in the frame in CSS pixels
    this.pencil = new Pencil(element, {
      place: (event, anywhere) => this._worldPlace(event, anywhere),
      done: (tool, path, adding) => this.drawn(tool, path, adding),
      drawing: () => {
        explorer.chrome.hideCard(pane.number);
        explorer.repaint();
      },
    });
    element.addEventListener("pointermove", (event) => this._moved(event));
    element.addEventListener("pointerleave", () => this.forget());
    element.addEventListener("pointerdown", (event) => (this.pressed = [event.clientX, event.clientY]));
    element.addEventListener("pointerup", (event) => this._released(event));
    if (pane.number === 1) this._moveItself(element);
  }

  /** Bokeh's tools move the first map; the second is moved here. */
  _moveItself(element) {
    const { view } = this.pane;
    element.addEventListener("wheel", (event) => {
      const at = this._place(event);
      if (at === null) return;
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 20 : 1;
      const step = Math.min(0.9, Math.max(-0.9, -event.deltaY * lines * WHEEL_STEP));
      view.zoomAbout(at.x, at.y, 1 / (1 - step));
    }, { passive: false });
    this.fingers = new Map(); // the pointers that are down: id -> [x, y]
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this._place(event) === null) return;
      event.target.setPointerCapture?.(event.pointerId);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (this.fingers.size > 1) this.pressed = null; // two fingers click nothing
    });
    element.addEventListener("pointermove", (event) => {
      if (!this.fingers.has(event.pointerId) || (event.buttons & 1) === 0) return;
      const before = grip(this.fingers);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
      this._follow(before, grip(this.fingers));
    });
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, ({ pointerId }) => this.fingers.delete(pointerId));
  }

  /** Move the map with the fingers on it: the place between them stays between them, and spreading them zooms. */
  _follow(before, now) {
    const { view } = this.pane;
    view.drag(now.x - before.x, now.y - before.y);
    if (before.spread === 0 || now.spread === 0) return;
    const outer = this.explorer.plot.el.getBoundingClientRect();
    view.zoomAbout(now.x - outer.left - view.frame.left, now.y - outer.top - view.frame.top, now.spread / before.spread);
  }

  /** A path was drawn with a tool, of a box its two corners: walk it, or select what it goes around. */
  drawn(tool, path, adding) {
    const { explorer, pane } = this;
    this.forget(); // a card of where the drawing ended would hide what was drawn
    const pixel = 1 / pane.view.scale;
    if (tool === "walk") {
      const { level } = pane;
      if (level !== null) explorer.set({ walk: { pane: pane.number, level: level.level, path: simplified(path, pixel) } });
    } else {
      const outline = tool === "box" ? boxOutline(path) : simplified(path, 1.5 * pixel);
      const before = adding && pane.holdsSelection ? explorer.state.region : [];
      if (outline.length > 2) explorer.set({ region: [...before, outline], selected: null, pane: pane.number });
    }
    explorer.input.take("move");
  }

  /** A pointer event's place in the frame in CSS pixels, or null outside it or on what stands around the map. */
  _place(event) {
    const { plot, over } = this.explorer;
    const path = event.composedPath();
    if (this.pane.number === 0 ? path.includes(over) : !path.includes(this.pane.under)) return null;
    const outer = plot.el.getBoundingClientRect();
    const { left, top, width, height } = this.pane.view.frame;
    const [x, y] = [event.clientX - outer.left - left, event.clientY - outer.top - top];
    return x < 0 || y < 0 || x > width || y > height ? null : { x, y };
  }

  _worldPlace(event, anywhere = false) {
    const { view } = this.pane;
    if (!anywhere && this._place(event) === null) return null;
    const outer = this.explorer.plot.el.getBoundingClientRect();
    const { left, top } = view.frame;
    return { x: view.worldX(event.clientX - outer.left - left), y: view.worldY(event.clientY - outer.top - top) };
  }

  _moved(event) {
    const place = this._place(event);
    if (place !== null) this.explorer.active = this.pane;
    this.pointer = event.buttons === 0 ? place : null;
    this.hoverLater();
  }

  /** The pointer is over something else. */
  forget() {
    this.pointer = null;
    this._hover(null);
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

  /** The sample that is seen at a place of the frame, an index into the pane's points, or -1. */
  _sampleAt({ x, y }) {
    const { points, view, covered } = this.pane;
    const seen = this.explorer.state.points !== "off" && points !== null && !isCovered(x, y, covered);
    return seen ? points.nearest(view, x, y) : -1;
  }

  _hover(place) {
    const { explorer, pane } = this;
    const { state, chrome } = explorer;
    if (pane.view.size === null || pane.layer === null) return;
    const suspect = place === null ? -1 : explorer.suspectMap.at(pane, place);
    const { points } = pane;
    const nearest = place === null || suspect >= 0 ? -1 : this._sampleAt(place);
    const found = place === null || nearest >= 0 || suspect >= 0 ? null : pane.found(place);
    if (found?.tile !== pane.hovered?.tile || found?.slot !== pane.hovered?.slot) this._expect(found);
    if (explorer.links.isOpen) explorer.repaint();
    Object.assign(pane, { hovered: found, pointed: nearest });
    explorer.painter.ring();
    if (suspect >= 0) chrome.showCard(pane, `suspect ${suspect}`, place, () => suspectCard(explorer.header.suspects.listed[suspect], suspect));
    else if (nearest >= 0) {
      const image = points.image[nearest];
      const content = pointCard(image, pane.layer, explorer.shards, explorer.header);
      if (content !== null) chrome.showCard(pane, `image ${image} of ${pane.layer}`, place, () => content);
    } else if (found !== null && state.points !== "only") {
      const ready = (found.cell.icon ? found.tile.icons : found.tile.real)?.image ? "ready" : "";
      chrome.showCard(pane, `${found.tile.key}/${found.slot}/${ready}`, place, () => cellCard(found, explorer.header, explorer.tiles));
    } else chrome.hideCard(pane.number);
  }

  _released(event) {
    const place = this._place(event);
    if (place === null || !this.pressed || event.button !== 0) return;
    const moved = Math.hypot(event.clientX - this.pressed[0], event.clientY - this.pressed[1]);
    if (moved > 4) return;
    const suspect = this.explorer.suspectMap.at(this.pane, place);
    if (suspect >= 0) {
      this.forget();
      this.explorer.openSuspect(suspect);
      return;
    }
    const found = this.pane.found(place);
    const sample = this._sampleAt(place);
    this.forget(); // the panel says it all: a card would hide the map until the pointer moves
    this.explorer.select(found, this.pane.number);
    if (sample >= 0) this.explorer.showPlaces(this.pane.points.image[sample]);
  }
}

/** The middle of some fingers on the page, and how far apart the first two are, 0 for one alone. */
function grip(fingers) {
  const places = [...fingers.values()];
  const mean = (axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length;
  const spread = places.length > 1 ? Math.hypot(places[0][0] - places[1][0], places[0][1] - places[1][1]) : 0;
  return { x: mean(0), y: mean(1), spread };
}
