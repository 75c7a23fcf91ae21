/* The causal test of a suspect as dots with intervals: what was done to the cue, and the same done to natural
 * sub-clusters of the class, its controls. */

const TESTED = {
  remove_direction: "direction removed",
  blur: "cue blurred",
  inpaint: "cue painted over",
  paste: "cue pasted on others",
  add_direction: "direction added",
};
const CAUSAL = { width: 320, left: 138, right: 10, row: 30, top: 6, axis: 16 };

/** Charts of the change of logit and accuracy, and how to read them; "" without any test. */
function causalCharts(tests, feeds) {
  if (tests.length === 0) return "";
  const of = feeds === null ? "the class" : feeds;
  const charts = [
    causalChart(tests, "logit", "control", `Change of the logit of ${of}`, signed, true),
    causalChart(tests, "accuracy", "accuracy_control", "Change of accuracy", (value) => `${signedPercent(value)}`, false),
  ];
  const [images, controls] = ["images", "controls"].map((name) => [...new Set(tests.map((test) => test[name]))].sort((a, b) => a - b));
  const range = (values) => (values.length > 1 ? `${count(values[0])} to ${count(values.at(-1))}` : count(values[0]));
  const over = `Means and 95 % intervals over ${range(images)} images that did not help to find it; ${range(controls)} controls.`;
  const key = [["full", "the suspect"], ["hollow", "controls: natural parts of the class, as large"], ["band", "where the controls' means lie"]];
  const drawn = key.filter(([kind]) => kind !== "band" || tests.some(({ control_spread: spread }) => spread));
  return h(
    "section",
    { class: "causal" },
    h("h3", {}, "Does the network use it?"),
    ...charts,
    h("p", { class: "quiet keys" }, drawn.map(([kind, words]) => h("span", { class: `key ${kind}` }, words))),
    h("p", { class: "quiet" }, over),
  );
}

const signedPercent = (value) => `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(Math.abs(value) < 0.1 ? 1 : 0)}\u00a0%`;

function causalChart(tests, name, control, title, words, banded) {
  const shown = tests.filter((test) => test[name]?.every((value) => value !== null));
  if (shown.length === 0) return "";
  const { width, left, right, row, top, axis } = CAUSAL;
  const known = (values) => values?.every((value) => value !== null);
  const all = shown.flatMap((test) => [test[name], test[control], banded ? test.control_spread : null].filter(known).flat());
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const x = (value) => left + ((width - left - right) * (value - low)) / (high - low || 1);
  const height = top + shown.length * row + axis;
  const said = shown.map((test) => `${TESTED[test.name] ?? test.name}: ${intervalWords(test[name], words)}${known(test[control]) ? `, controls ${intervalWords(test[control], words)}` : ""}`);
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${said.join("; ")}` });
  drawn.append(svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height - axis, class: "zero" }));
  const ends = [low, 0, high].filter((value, i) => value === 0 ? i === 1 : Math.abs(x(value) - x(0)) > 42);
  for (const value of ends) {
    drawn.append(svg("text", { x: x(value), y: height - 4, "text-anchor": value === 0 ? "middle" : value < 0 ? "start" : "end", class: "tick" }, value === 0 ? "0" : words(value)));
  }
  shown.forEach((test, i) => {
    const middle = top + (i + 0.5) * row;
    const group = svg("g", {}, svg("title", {}, said[i]), svg("rect", { x: 0, y: middle - row / 2, width, height: row, fill: "transparent" }));
    group.append(svg("text", { x: left - 8, y: middle + 3.5, "text-anchor": "end", class: "name" }, TESTED[test.name] ?? test.name));
    if (banded && known(test.control_spread)) {
      const [least, largest] = test.control_spread;
      group.append(svg("rect", { x: x(least), y: middle + 2, width: Math.max(1, x(largest) - x(least)), height: 10, class: "spread" }));
    }
    if (known(test[control])) group.append(...dotWithInterval(test[control].map(x), middle + 7, "control"));
    group.append(...dotWithInterval(test[name].map(x), middle - 5, "own"));
    drawn.append(group);
  });
  return h("figure", {}, h("figcaption", {}, title), drawn);
}

const intervalWords = ([mean, low, high], words) => `${words(mean)} (${words(low)} to ${words(high)})`;

function dotWithInterval([mean, low, high], y, kind) {
  return [svg("line", { x1: low, x2: high, y1: y, y2: y, class: kind }), svg("circle", { cx: mean, cy: y, r: 3.6, class: kind })];
}
