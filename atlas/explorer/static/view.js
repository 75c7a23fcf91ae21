/* The view: which part of the unit square fills Bokeh's frame. Bokeh's ranges are the only copy of it, so its tools
 * (pan, wheel, pinch) and the explorer's keys and buttons move the same thing. x runs right, y up; both axes always
 * have the same scale, in CSS pixels per unit. */

const HOME_MARGIN = 0.04;
const NARROW_PX = 640; // of a frame: wider ones have room beside a square map, but for a cell in its top left corner
const CORNER_EM = { left: 3.7, top: 3.3 }; // what tools and the level's line take of a narrow frame
const DEEPEST_CELL_PX = 1024; // as far as zooming in goes

/** A range of a map that Bokeh does not move: what View needs of Bokeh's. */
class Extent {
  constructor() {
    Object.assign(this, { start: 0, end: 1 });
  }

  setv(values) {
    Object.assign(this, values);
  }
}

class View {
  /** figure: Bokeh's, or {x_range, y_range} of Extents; plot: its view, or {el, frame: {bbox}}. */
  constructor(figure, plot, { deepestSide, home, corner, changed }) {
    Object.assign(this, { figure, plot, deepestSide, bounds: home, corner, changed });
    this.size = null;
    this.centre = null;
    this.flight = 0;
    this.flying = null; // the flight under way
    for (const range of [figure.x_range, figure.y_range]) {
      for (const end of ["start", "end"]) range.properties?.[end].change.connect(() => this._moved());
    }
  }

  /** Bokeh's frame in CSS pixels, relative to the figure's element. */
  get frame() {
    const { left, top, width, height } = this.plot.frame.bbox;
    return { left, top, width, height };
  }

  get scale() {
    const { start, end } = this.figure.x_range;
    return this.frame.width / (end - start);
  }

  screenX = (x) => (x - this.figure.x_range.start) * this.scale;
  screenY = (y) => (this.figure.y_range.end - y) * this.scale;
  worldX = (px) => this.figure.x_range.start + px / this.scale;
  worldY = (px) => this.figure.y_range.end - px / this.scale;

  /** Take on the frame's present size: the first time go home, later keep centre and scale. */
  fitFrame() {
    const { width, height } = this.frame;
    if (width < 2 || height < 2) return;
    if (this.size?.width === width && this.size.height === height) return;
    const first = this.size === null;
    const wasHome = this.isHome;
    this.size = { width, height };
    const [low, high] = this.scaleLimits;
    this.figure.x_range.setv({ min_interval: width / high, max_interval: width / low });
    this.figure.y_range.setv({ min_interval: height / high, max_interval: height / low });
    if (first || wasHome) this.show(this.homeView);
    else this.show(this.centre);
  }

  get scaleLimits() {
    return [this.homeView.scale / 3, (this.deepestSide * DEEPEST_CELL_PX)];
  }

  get homeView() {
    const { width, height } = this.size ?? this.frame;
    const [left, bottom, right, top] = this.bounds;
    const room = 1 + 2 * HOME_MARGIN;
    const em = width < NARROW_PX || this.corner ? parseFloat(getComputedStyle(this.plot.el).fontSize) : 0;
    const [aside, above] = [em * CORNER_EM.left, em * CORNER_EM.top];
    const [wide, high] = [(right - left) * room, (top - bottom) * room];
    const scale = Math.min((width - aside) / wide, (height - above) / high);
    // In the middle, moved aside as far as the corner asks for.
    const east = Math.max(0, aside - (width - wide * scale) / 2) / scale;
    const south = Math.max(0, above - (height - high * scale) / 2) / scale;
    return { x: (left + right) / 2 - east, y: (bottom + top) / 2 + south, scale };
  }

  get isHome() {
    if (this.centre === null || this.size === null) return false;
    const home = this.homeView;
    return (
      Math.abs(Math.log(this.centre.scale / home.scale)) < 0.01 &&
      Math.hypot(this.centre.x - home.x, this.centre.y - home.y) * home.scale < 2
    );
  }

  /** Put the point (x, y) in the middle of the frame at `scale` CSS pixels per unit. */
  show({ x, y, scale }) {
    const { width, height } = this.frame;
    const [low, high] = this.scaleLimits;
    const s = Math.min(Math.max(scale, low), high);
    const cx = Math.min(Math.max(x, -0.2), 1.2);
    const cy = Math.min(Math.max(y, -0.2), 1.2);
    this.centre = { x: cx, y: cy, scale: s };
    this.quiet = true;
    this.figure.x_range.setv({ start: cx - width / 2 / s, end: cx + width / 2 / s });
    this.figure.y_range.setv({ start: cy - height / 2 / s, end: cy + height / 2 / s });
    this.quiet = false;
    this.changed();
  }

  /** Bokeh's tools moved a range: read the view back, at one scale for both axes. */
  _moved() {
    if (this.quiet || this.size === null) return;
    this.flight++; // a hand on the map stops any flight
    const { x_range: xs, y_range: ys } = this.figure;
    this.centre = { x: (xs.start + xs.end) / 2, y: (ys.start + ys.end) / 2, scale: this.scale };
    this.changed();
  }

  /** Once the tools are done with a frame, undo what they cannot know: unequal scales, and a map out of sight. */
  settle() {
    if (this.centre === null) return;
    const { x_range: xs, y_range: ys } = this.figure;
    const unequal = Math.abs((this.frame.height / (ys.end - ys.start)) / this.scale - 1) > 1e-3;
    const { x, y } = this.centre;
    if (unequal || x < -0.2 || x > 1.2 || y < -0.2 || y > 1.2) this.show(this.centre);
  }

  /** Whether the map is on its way to a view. */
  get isFlying() {
    return this.flying === this.flight;
  }

  /** Fly to a view; a later move of any kind ends the flight. */
  fly(target, ms = 260) {
    const from = { ...this.centre };
    const flight = ++this.flight;
    if (ms === 0 || window.matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.show(target);
      return;
    }
    this.flying = flight;
    const begun = performance.now();
    const step = (now) => {
      if (flight !== this.flight) return;
      const t = Math.min(1, Math.max(0, (now - begun) / ms));
      const eased = 1 - (1 - t) ** 3;
      const scale = from.scale * (target.scale / from.scale) ** eased;
      // Zooming moves the world in 1 / scale: so the fixed point of a zoom stays fixed on the way.
      const share = from.scale === target.scale ? eased : (1 / scale - 1 / from.scale) / (1 / target.scale - 1 / from.scale);
      this.show({ x: from.x + (target.x - from.x) * share, y: from.y + (target.y - from.y) * share, scale });
      if (t < 1) requestAnimationFrame(step);
      else this.flying = null;
    };
    requestAnimationFrame(step);
  }

  /** Zoom about a place of the frame in CSS pixels. */
  zoomAbout(px, py, factor) {
    const [x, y] = [this.worldX(px), this.worldY(py)];
    const [low, high] = this.scaleLimits;
    const scale = Math.min(Math.max(this.centre.scale * factor, low), high);
    const left = this.centre.scale / scale;
    this.flight++;
    this.show({ x: x + (this.centre.x - x) * left, y: y + (this.centre.y - y) * left, scale });
  }

  /** Move the map under the frame by CSS pixels, right and down. */
  drag(right, down) {
    const { x, y, scale } = this.centre;
    this.flight++;
    this.show({ x: x - right / scale, y: y + down / scale, scale });
  }

  zoomBy(factor) {
    this.fly({ ...this.centre, scale: this.centre.scale * factor });
  }

  panBy(right, up) {
    const { width, height } = this.frame;
    const { x, y, scale } = this.centre;
    this.fly({ x: x + (right * width) / scale, y: y + (up * height) / scale, scale }, 200);
  }

  /** Middle and extent whatever the window's size: span is the share of the map along its shorter side. */
  get span() {
    const { x, y, scale } = this.centre;
    return { x, y, span: this._shorterSide / scale };
  }

  /** Of the whole figure: the frame in it changes with the words around it. */
  get _shorterSide() {
    return Math.min(this.plot.el.clientWidth, this.plot.el.clientHeight);
  }

  showSpan(wanted) {
    this.show(this._ofSpan(wanted));
  }

  flySpan(wanted) {
    this.fly(this._ofSpan(wanted), 320);
  }

  _ofSpan({ x, y, span }) {
    return { x, y, scale: this._shorterSide / span };
  }

  /** Fly to where [left, bottom, right, top] fills most of the frame. */
  fit([left, bottom, right, top]) {
    const { width, height } = this.frame;
    const scale = Math.min(width / Math.max(1e-6, right - left), height / Math.max(1e-6, top - bottom)) / 1.3;
    this.fly({ x: (left + right) / 2, y: (bottom + top) / 2, scale: Math.min(scale, 24 * Math.min(width, height)) }, 320);
  }

  isInSight(x, y) {
    const { width, height } = this.frame;
    const [px, py] = [this.screenX(x), this.screenY(y)];
    return px >= 0 && px <= width && py >= 0 && py <= height;
  }

  /** Move the map, where a place is not well within the frame. */
  keepInSight(x, y) {
    const { width, height } = this.frame;
    const [px, py] = [this.screenX(x) / width, this.screenY(y) / height];
    if (px < 0.1 || px > 0.9 || py < 0.1 || py > 0.9) this.fly({ ...this.centre, x, y }, 200);
  }

  goHome() {
    this.fly(this.homeView, 320);
  }
}
