/* The view as a picture at print size: PNG, or SVG with the icons as pictures and everything else as shapes. */

const PRINT_PX = 3600; // of the longer side of a PNG: 30 cm at 300 dots per inch

/** The map as a PNG, a Blob. paint(context of that size, ratio) draws it at `ratio` pixels per CSS pixel. */
async function mapPng(view, paint) {
  const { width, height } = view.size;
  const ratio = PRINT_PX / Math.max(width, height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  paint(canvas.getContext("2d", { alpha: false }), ratio);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (blob === null) throw new Error("the browser cannot make a picture of this size");
  return blob;
}

/** The map as SVG text. paint draws the icons alone; points (or null), names and outlines become shapes. */
function mapSvg(view, paint, { points, dim, names, outlines, ink, paper, ground, title }) {
  const { width, height } = view.size;
  const ratio = PRINT_PX / Math.max(width, height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  paint(canvas.getContext("2d", { alpha: false }), ratio);
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${height}`, width: "300mm", height: `${(300 * height) / width}mm` });
  root.append(svg("title", {}, title), svg("rect", { width, height, fill: ground }));
  root.append(svg("image", { width, height, href: canvas.toDataURL("image/png") }));
  if (points !== null) root.append(svgPoints(points, view, dim));
  for (const outline of outlines) {
    const corners = outline.map(([x, y]) => `${view.screenX(x).toFixed(1)},${view.screenY(y).toFixed(1)}`).join(" ");
    root.append(svg("polygon", { points: corners, fill: "none", stroke: ink, "stroke-width": 1.5 }));
  }
  for (const { text, px, py, height: high } of names) {
    const look = { x: px.toFixed(1), y: py.toFixed(1), "text-anchor": "middle", "dominant-baseline": "central", "font-family": "system-ui, sans-serif", "font-weight": 600, "font-size": high * 0.68 };
    root.append(svg("text", { ...look, fill: ink, stroke: paper, "stroke-width": high * 0.24, "stroke-linejoin": "round", "paint-order": "stroke" }, text));
  }
  return new XMLSerializer().serializeToString(root);
}

/** One path per colour, a dot per sample: a tenth of the size of a circle each. */
function svgPoints(points, view, dim) {
  const { width, height } = view.size;
  const radius = points.radius(view);
  const paths = new Map();
  for (const live of [0, 1]) {
    for (let i = 0; i < points.length; i++) {
      if (points.live[i] !== live) continue;
      const [x, y] = [view.screenX(points.x[i]), view.screenY(points.y[i])];
      if (x < 0 || y < 0 || x > width || y > height) continue;
      const colour = css(live ? points.groups.colour(points.groups.group[i]) : dim);
      if (!paths.has(colour)) paths.set(colour, []);
      paths.get(colour).push(`M${x.toFixed(1)} ${y.toFixed(1)}h0`);
    }
  }
  const group = svg("g", { fill: "none", "stroke-width": 2 * radius, "stroke-linecap": "round" });
  for (const [colour, places] of paths) group.append(svg("path", { stroke: colour, d: places.join("") }));
  return group;
}
