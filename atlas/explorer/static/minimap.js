/* The whole map, small, with the view's frame on it: shown while the view is not the whole map. */

const MINIMAP_PX = 116;

class Minimap {
  /** move(x, y): put this place of the unit square into the middle. */
  constructor(move) {
    this.canvas = h("canvas", { width: 2 * MINIMAP_PX, height: 2 * MINIMAP_PX, role: "img", "aria-label": "The whole map, and the part in view" });
    this.element = h("div", { class: "minimap", hidden: true }, this.canvas);
    const to = (event) => {
      if (event.buttons !== 1) return;
      event.stopPropagation();
      const { left, top, width, height } = this.canvas.getBoundingClientRect();
      move((event.clientX - left) / width, 1 - (event.clientY - top) / height);
    };
    this.canvas.addEventListener("pointerdown", to);
    this.canvas.addEventListener("pointermove", to);
  }

  /** points: any even thinning of the layer's samples, by whose dust the map is known. */
  show(view, density, ink, accent) {
    this.element.hidden = density === null || view.isHome;
    if (this.element.hidden) return;
    if (this.of !== density || this.ink !== ink) {
      this.ground = dustOf(density, ink);
      Object.assign(this, { of: density, ink });
    }
    const context = this.canvas.getContext("2d");
    const side = this.canvas.width;
    context.clearRect(0, 0, side, side);
    context.imageSmoothingQuality = "high";
    context.drawImage(this.ground, 0, 0, side, side);
    const { x_range: xs, y_range: ys } = view.figure;
    const within = (share) => 2 + Math.max(0, Math.min(1, share)) * (side - 4); // all four sides are always seen
    const [left, top, right, bottom] = [xs.start, 1 - ys.end, xs.end, 1 - ys.start].map(within);
    context.strokeStyle = accent;
    context.lineWidth = 4;
    context.strokeRect(left, top, right - left, bottom - top);
  }
}

/** A picture of a density grid: one ink, more of it where more samples fall, on a logarithmic scale. */
function dustOf(counts, [red, green, blue]) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = DENSITY_SIDE;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(DENSITY_SIDE, DENSITY_SIDE);
  const most = Math.log(1 + counts.reduce((a, b) => Math.max(a, b), 1));
  for (let row = 0; row < DENSITY_SIDE; row++) {
    for (let column = 0; column < DENSITY_SIDE; column++) {
      const samples = counts[row * DENSITY_SIDE + column];
      const at = 4 * ((DENSITY_SIDE - 1 - row) * DENSITY_SIDE + column);
      picture.data.set([red, green, blue, samples === 0 ? 0 : 50 + (205 * Math.log(1 + samples)) / most], at);
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
