/* How the networks of a comparison of many drift: each one against the first and against the one before it. */

const DRIFT = { width: 280, height: 96, left: 26, right: 8, top: 6, bottom: 6 };
const DRIFT_LINES = [
  ["cka", "first", "CKA, against the first", "var(--accent)", null],
  ["cka", "previous", "CKA, against the one before", "var(--accent)", "4 3"],
  ["neighbor_overlap", "first", "neighbours in common, with the first", "var(--minus)", null],
  ["neighbor_overlap", "previous", "neighbours in common, with the one before", "var(--minus)", "4 3"],
];

/** Figures of points 1 to n - 1 as lines over all n networks. points: [{title, first: {name: value}, previous}];
 * choose(network): one was pressed. */
function driftCurves(first, points, choose) {
  const { width, height, left, right, top, bottom } = DRIFT;
  const x = (i) => left + ((width - left - right) * i) / points.length;
  const y = (value) => height - bottom - (height - top - bottom) * Math.max(0, Math.min(1, value));
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img", "aria-label": `Figures of ${points.length + 1} networks in order` });
  for (const level of [0, 0.5, 1]) {
    drawn.append(svg("line", { x1: left, x2: width - right, y1: y(level), y2: y(level), stroke: "var(--line)" }), svg("text", { x: left - 4, y: y(level) + 3, "text-anchor": "end", "font-size": 9, fill: "var(--quiet)" }, String(level)));
  }
  for (const [name, against, , colour, dash] of DRIFT_LINES) {
    const values = points.map((point) => point[against][name]);
    const line = values.map((value, i) => (value === null ? null : `${x(i + 1)},${y(value)}`)).filter((corner) => corner !== null);
    if (against === "first") line.unshift(`${x(0)},${y(1)}`); // the first is as itself
    drawn.append(svg("polyline", { points: line.join(" "), fill: "none", stroke: colour, "stroke-width": 1.6, ...(dash === null ? {} : { "stroke-dasharray": dash }) }));
  }
  const words = (point) => [point.title, ...DRIFT_LINES.map(([name, against, told]) => `${told}: ${figure2(point[against][name])}`)].join("\n");
  const stops = [{ title: first, said: first }, ...points.map((point) => ({ title: point.title, said: words(point) }))];
  const step = (width - left - right) / points.length;
  stops.forEach(({ said }, i) => {
    const area = svg("rect", { x: x(i) - step / 2, y: 0, width: step, height, fill: "transparent", class: "stop" });
    area.append(svg("title", {}, said));
    area.addEventListener("click", () => choose(i));
    drawn.append(area);
  });
  const key = DRIFT_LINES.map(([, , told, colour, dash]) => h("span", { class: "curve-key" }, h("span", { class: "dash", style: { "border-top": `2px ${dash === null ? "solid" : "dashed"} ${colour}` } }), told));
  return h("div", { class: "drift" }, drawn, h("p", { class: "quiet" }, key));
}
