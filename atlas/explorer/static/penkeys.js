/* Drawing without a pointer: while a drawing tool is on, arrows move a cross over the map, Space sets a corner, Enter
 * the last one. What comes out is what the pencil would have drawn. */

const CROSS_STEP = 1 / 40; // of the frame's shorter side
const CROSS_FINE = 1 / 200; // with Shift

class PenKeys {
  constructor(explorer) {
    this.explorer = explorer;
    this.cross = null; // {pane, x, y} in the unit square, once a key has asked for it
  }

  /** A drawing tool was taken up, or laid down. */
  reset() {
    this.cross = null;
    this.corners = [];
  }

  /** Take a key while a drawing tool is on; whether it was one for drawing. */
  take(name, shift) {
    const { tool } = this.explorer.input;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[name];
    if (arrow === undefined && ![" ", "Enter", "Backspace"].includes(name)) return false;
    this._begin();
    if (arrow !== undefined) this._move(...arrow, shift ? CROSS_FINE : CROSS_STEP);
    else if (name === "Backspace") this.corners.pop();
    else if (name === " " || (tool === "box" && this.corners.length === 0)) this._setCorner(tool);
    else this._finish(tool, shift);
    this.explorer.repaint();
    return true;
  }

  /** The path so far with the cross as its last corner, for painting; null while there is none on this map. */
  outlineOn(pane) {
    if (this.cross?.pane !== pane || this.corners.length === 0) return null;
    const path = [...this.corners, [this.cross.x, this.cross.y]];
    return this.explorer.input.tool === "box" ? boxOutline(path) : path;
  }

  _begin() {
    const { explorer } = this;
    if (this.cross !== null) return;
    const pane = explorer.active;
    const { x, y } = pane.view.centre;
    this.cross = { pane, x, y };
    explorer.chrome.hideCard(pane.number);
    explorer.chrome.say("Arrows move the cross, Space sets a corner, Enter the last one; Backspace takes one back.");
  }

  _move(right, up, share) {
    const { cross } = this;
    const { view } = cross.pane;
    const step = (Math.min(view.frame.width, view.frame.height) * share) / view.scale;
    cross.x = Math.min(1, Math.max(0, cross.x + right * step));
    cross.y = Math.min(1, Math.max(0, cross.y + up * step));
    view.keepInSight(cross.x, cross.y);
  }

  _setCorner(tool) {
    const { x, y } = this.cross;
    this.corners = tool === "box" ? [[x, y]] : [...this.corners, [x, y]];
  }

  _finish(tool, adding) {
    const { pane, x, y } = this.cross;
    const path = [...this.corners, [x, y]];
    if (path.length < (tool === "lasso" ? 3 : 2)) {
      this._setCorner(tool);
      return;
    }
    this.reset();
    this.explorer.pointers[pane.number].drawn(tool, path, adding);
  }
}
