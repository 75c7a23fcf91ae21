/* The view as a picture at print size: PNG, or SVG with the icons as pictures and everything else as shapes.
 *
 * A sheet is one map: {view, points (or null), covered: boxes whose pictures hide points, names, outlines, shapes(): more
 * SVG elements, paint(context, ratio): its icons, paintOver(context, ratio): outlines, shapes and names}. Two of them stand as they do on the screen. */

const PRINT_PX = 3600; // of the longer side of a PNG: 30 cm at 300 dots per inch

/** [left, top, width, height] around all sheets, in CSS pixels of the figure. */
function printArea(sheets) {
  const frames = sheets.map(({ view }) => view.frame);
  const [left, top] = [Math.min(...frames.map((frame) => frame.left)), Math.min(...frames.map((frame) => frame.top))];
  const right = Math.max(...frames.map((frame) => frame.left + frame.width));
  const bottom = Math.max(...frames.map((frame) => frame.top + frame.height));
  return { left, top, width: right - left, height: bottom - top };
}

/** A canvas of one sheet at `ratio` pixels per CSS pixel, with what `paint` puts on it. */
function sheetCanvas({ view }, ratio, paint) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(view.size.width * ratio);
  canvas.height = Math.round(view.size.height * ratio);
  paint(canvas.getContext("2d", { alpha: false }));
  return canvas;
}

/** The maps as a PNG, a Blob. */
async function mapPng(sheets, ground, ringed) {
  const { left, top, width, height } = printArea(sheets);
  const ratio = PRINT_PX / Math.max(width, height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d", { alpha: false });
  context.fillStyle = ground;
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const sheet of sheets) {
    const { view, points, covered, paint, paintOver } = sheet;
    const map = sheetCanvas(sheet, ratio, (own) => {
      paint(own, ratio);
      if (points !== null) paintDots(own, points, view, ratio, ringed, covered);
      paintOver(own, ratio);
    });
    context.drawImage(map, (view.frame.left - left) * ratio, (view.frame.top - top) * ratio);
  }
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  if (blob === null) throw new Error("the browser cannot make a picture of this size");
  return blob;
}

/** Samples over what a context already holds. */
function paintDots(context, points, view, ratio, ringed, covered) {
  const canvas = document.createElement("canvas");
  canvas.width = context.canvas.width;
  canvas.height = context.canvas.height;
  points.paint(canvas.getContext("2d"), view, ratio, ringed, covered);
  points.picture = null; // of a size that the screen does not need
  context.drawImage(canvas, 0, 0);
}

/** The maps as SVG text. */
function mapSvg(sheets, { title, ink, paper, dim }) {
  const { left, top, width, height } = printArea(sheets);
  const ratio = PRINT_PX / Math.max(width, height);
  const root = svg("svg", { xmlns: "http://www.w3.org/2000/svg", viewBox: `0 0 ${width} ${height}`, width: "300mm", height: `${(300 * height) / width}mm` });
  root.append(svg("title", {}, title), svg("rect", { width, height, fill: paper }));
  for (const sheet of sheets) {
    const { frame } = sheet.view;
    const { width: wide, height: high } = sheet.view.size;
    // An inner svg cuts off what runs over its map's edge.
    const part = svg("svg", { x: frame.left - left, y: frame.top - top, width: wide, height: high });
    part.append(svg("image", { width: wide, height: high, href: sheetCanvas(sheet, ratio, (own) => sheet.paint(own, ratio)).toDataURL("image/png") }));
    part.append(...svgShapes(sheet, { ink, paper, dim }));
    root.append(part);
  }
  return new XMLSerializer().serializeToString(root);
}

/** A sheet's samples, outlines and names as shapes. */
function svgShapes({ view, points, covered, names, outlines, shapes: more }, { ink, paper, dim }) {
  const shapes = points === null ? [] : [svgPoints(points, view, dim, covered)];
  for (const outline of outlines) {
    const corners = outline.map(([x, y]) => `${view.screenX(x).toFixed(1)},${view.screenY(y).toFixed(1)}`).join(" ");
    shapes.push(svg("polygon", { points: corners, fill: "none", stroke: ink, "stroke-width": 1.5 }));
  }
  shapes.push(...more());
  for (const { text, px, py, height: high } of names) {
    const look = { x: px.toFixed(1), y: py.toFixed(1), "text-anchor": "middle", "dominant-baseline": "central", "font-family": "system-ui, sans-serif", "font-weight": 600, "font-size": high * 0.68 };
    shapes.push(svg("text", { ...look, fill: ink, stroke: paper, "stroke-width": high * 0.24, "stroke-linejoin": "round", "paint-order": "stroke" }, text));
  }
  return shapes;
}

/** How a dot of each shape continues a path from its middle: a line without length with a round or square cap, as a
 * tenth of the size of a circle, and a diamond's outline. */
const DOTS = [() => "h0", () => "h0", (radius) => `m0 ${-1.25 * radius}l${1.25 * radius} ${1.25 * radius}l${-1.25 * radius} ${1.25 * radius}l${-1.25 * radius} ${-1.25 * radius}z`];
const DOT_LOOKS = [(radius) => ({ "stroke-width": 2 * radius, "stroke-linecap": "round" }), (radius) => ({ "stroke-width": 1.77 * radius, "stroke-linecap": "square" }), () => ({ "stroke-width": 0 })];

/** One path per colour and shape. */
function svgPoints(points, view, dim, covered) {
  const { width, height } = view.size;
  const radius = points.radius(view);
  const paths = new Map();
  for (const live of [0, 1]) {
    for (let i = 0; i < points.length; i++) {
      if (points.live[i] !== live) continue;
      const [x, y] = [view.screenX(points.x[i]), view.screenY(points.y[i])];
      if (x < 0 || y < 0 || x > width || y > height || isCovered(x, y, covered)) continue;
      const colour = css(live ? points.groups.colour(points.groups.group[i]) : dim);
      const shape = points.shape === null ? 0 : points.shape[i];
      const key = `${shape}${colour}`;
      if (!paths.has(key)) paths.set(key, { colour, shape, places: [] });
      paths.get(key).places.push(`M${x.toFixed(1)} ${y.toFixed(1)}${DOTS[shape](radius)}`);
    }
  }
  const group = svg("g");
  for (const { colour, shape, places } of paths.values()) {
    group.append(svg("path", { stroke: colour, fill: shape === 2 ? colour : "none", ...DOT_LOOKS[shape](radius), d: places.join("") }));
  }
  return group;
}
