/* Outlines drawn over the map: lists of [x, y] corners in the unit square, closed from the last to the first. */

const CORNERS_PER_OUTLINE = 60;

/** Whether a place lies inside an outline: a ray from it crosses the outline an odd number of times. */
function isInside(x, y, outline) {
  let inside = false;
  for (let i = 0, j = outline.length - 1; i < outline.length; j = i++) {
    const [[xi, yi], [xj, yj]] = [outline[i], outline[j]];
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** [left, bottom, right, top] around outlines, within the unit square. */
function boxAround(outlines) {
  const clamp = (value) => Math.min(1, Math.max(0, value));
  const xs = outlines.flatMap((outline) => outline.map(([x]) => x));
  const ys = outlines.flatMap((outline) => outline.map(([, y]) => y));
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)].map(clamp);
}

/** A drawn path with the corners that matter alone (Douglas and Peucker 1973), at most CORNERS_PER_OUTLINE of them. */
function simplified(path, tolerance) {
  for (let allowed = tolerance; ; allowed *= 1.6) {
    const kept = withoutNeedless(path, allowed);
    if (kept.length <= CORNERS_PER_OUTLINE) return kept;
  }
}

function withoutNeedless(path, tolerance) {
  if (path.length < 3) return path;
  const [first, last] = [path[0], path.at(-1)];
  let [farthest, at] = [tolerance, -1];
  for (let i = 1; i < path.length - 1; i++) {
    const distance = distanceToLine(path[i], first, last);
    if (distance > farthest) [farthest, at] = [distance, i];
  }
  if (at < 0) return [first, last];
  return [...withoutNeedless(path.slice(0, at + 1), tolerance).slice(0, -1), ...withoutNeedless(path.slice(at), tolerance)];
}

function distanceToLine([x, y], [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const along = dx === 0 && dy === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)));
  return Math.hypot(x - ax - along * dx, y - ay - along * dy);
}

/** `count` places evenly along a path, its ends among them: [{x, y, at}], `at` from 0 to 1. */
function alongPath(path, count) {
  const lengths = path.slice(1).map(([x, y], i) => Math.hypot(x - path[i][0], y - path[i][1]));
  const whole = lengths.reduce((sum, length) => sum + length, 0) || 1e-9;
  return Array.from({ length: count }, (_, n) => {
    let rest = (whole * n) / Math.max(1, count - 1);
    let leg = 0;
    while (leg < lengths.length - 1 && rest > lengths[leg]) rest -= lengths[leg++];
    const share = lengths[leg] > 0 ? Math.min(1, rest / lengths[leg]) : 0;
    const [[ax, ay], [bx, by]] = [path[leg], path[leg + 1] ?? path[leg]];
    return { x: ax + (bx - ax) * share, y: ay + (by - ay) * share, at: n / Math.max(1, count - 1) };
  });
}

const TOOLS = [
  ["move", "✥", "Move the map, click cells (V)", "v"],
  ["box", "▭", "Select a box (B); Shift adds", "b"],
  ["lasso", "◌", "Select with a lasso (L); Shift adds", "l"],
  ["walk", "⤳", "Draw a walk over the map (W)", "w"],
];

/** The pointer as a pencil: while a drawing tool is on, a drag over the map draws instead of moving it. */
class Pencil {
  /** place(event): where on the map, or null. done(tool, path, adding); drawing(): the path has grown. */
  constructor(element, { place, done, drawing }) {
    Object.assign(this, { place, done, drawing });
    this.tool = "move";
    this.path = null; // of [x, y] while drawing
    const capture = { capture: true };
    element.addEventListener("pointerdown", (event) => this._down(event), capture);
    element.addEventListener("pointermove", (event) => this._move(event), capture);
    element.addEventListener("pointerup", (event) => this._up(event), capture);
    element.addEventListener("pointercancel", () => this.stop(), capture);
  }

  stop() {
    this.path = null;
    this.drawing();
  }

  _down(event) {
    const at = this.tool === "move" || event.button !== 0 ? null : this.place(event);
    if (at === null) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    this.path = [[at.x, at.y]];
    event.target.setPointerCapture?.(event.pointerId);
  }

  _move(event) {
    if (this.path === null) return;
    event.stopImmediatePropagation();
    const at = this.place(event, true);
    if (at === null) return;
    if (this.tool === "box") this.path = [this.path[0], [at.x, at.y]];
    else this.path.push([at.x, at.y]);
    this.drawing();
  }

  _up(event) {
    if (this.path === null) return;
    event.stopImmediatePropagation();
    const { path } = this;
    this.stop();
    if (path.length > 1) this.done(this.tool, path, event.shiftKey);
  }

  /** The outline drawn so far, for painting; null while none is. */
  get outline() {
    if (this.path === null || this.path.length < 2) return null;
    return this.tool === "box" ? boxOutline(this.path) : this.path;
  }
}

const boxOutline = ([[ax, ay], [bx, by]]) => [[ax, ay], [bx, ay], [bx, by], [ax, by]];
