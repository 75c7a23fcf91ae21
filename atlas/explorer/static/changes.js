/* What a comparison found, in words and lists: the figures, what changed, the classes and the predictions. */

/** "r20 82 % → r56 59 % right, 41 % predicted otherwise, neighbours in common 0.07": of one cell. */
function cellChangeWords({ between, accuracy, flips, overlap }, { layers }) {
  const words = [];
  const names = between.map((layer) => layers[layer].name);
  if (accuracy.every((one) => one !== null)) words.push(`${accuracy.map((one, i) => `${names[i]} ${percent(one)}`).join(" → ")} right`);
  else words.push(names.join(" → "));
  if (flips !== null) words.push(`${percent(flips)} predicted otherwise`);
  if (overlap !== null) words.push(`neighbours in common ${figure2(overlap)}`);
  return words.join(", ");
}

const pWords = (p) => (p === null || p === undefined ? "" : p < 0.001 ? "p\u00a0<\u00a00.001" : `p\u00a0${p.toFixed(p < 0.1 ? 3 : 2)}`);

/** What changed most of what a cell speaks for, as bars; "" where nothing is known. */
function effectChanges({ between, effects }, { layers, outputs }) {
  if (effects.length === 0) return "";
  const most = Math.max(...effects.map(([, value]) => Math.abs(value))) || 1;
  const rows = effects.map(([output, value]) => barRow(outputs[output], value / most, value < 0 ? "var(--minus)" : "var(--plus)", signed(value), true));
  const words = `From ${layers[between[0]].name} to ${layers[between[1]].name}, the mean contribution to a class's logit.`;
  return h("section", {}, h("h3", {}, "Effects that changed most"), h("div", { class: "bars" }, rows), h("p", { class: "quiet" }, words));
}

/** p and size of a change, and how many of its images can be shown. */
function changeFigures({ p, count: size, images }) {
  const shown = images.length < size ? `${count(images.length)} of ${counted(size, "image")} shown` : counted(size, "image");
  return [pWords(p), shown].filter(Boolean).join(" · ");
}

class ChangeList {
  /** actions: {layer(index), change(index or null): show the images of one alone, image(index), floor(on)} */
  constructor(header, shards, actions) {
    Object.assign(this, { header, actions });
    const { diff } = header;
    this.strips = header.pictures ? diff.changes.map((_, index) => new PictureStrip(shards, `strip/${index}`, header.thumbnailSize, (image) => actions.image(image))) : [];
    this.floor = h("input", { type: "checkbox", change: (event) => actions.floor(event.target.checked) });
    this.buttons = diff.changes.map((change, index) => this._button(change, index));
    this.element = h("section", { class: "changes" }, h("h3", {}, "What changed"), this._figures(), this._curve(), this._list(), this._flips(), this._classes(), this._notes());
  }

  /** Mark which change the filter leaves alone, and whether cells pale; ask for the pictures that are not there yet. */
  show(chosen, floor) {
    for (const strip of this.strips) strip.refresh();
    this.floor.checked = floor;
    this.buttons.forEach((button, change) => button.setAttribute("aria-pressed", String(chosen === change)));
  }

  _button(change, index) {
    const click = ({ currentTarget }) => this.actions.change(currentTarget.getAttribute("aria-pressed") === "true" ? null : index);
    return h("button", { class: "change", "aria-pressed": "false", click }, change.text);
  }

  _figures() {
    const names = { cka: "CKA", procrustes: "Procrustes distance", neighbor_overlap: "neighbours in common" };
    const figures = this.header.diff.figures.map(([name, value]) => `${names[name]} ${figure2(value)}`).join(" · ");
    return figures ? h("p", { class: "quiet" }, figures) : "";
  }

  _curve() {
    const { diff, layers } = this.header;
    return diff.curve.length > 0 ? driftCurves(layers[0].name, diff.curve, (layer) => this.actions.layer(layer)) : "";
  }

  _list() {
    const { changes, tested, below } = this.header.diff;
    const quiet = (words) => h("p", { class: "quiet" }, words);
    if (changes.length > 0) return h("ol", {}, this.buttons.map((button, i) => h("li", {}, button, quiet(changeFigures(changes[i])), this.strips[i]?.element ?? "")));
    if (!tested) return "";
    const none = h("p", {}, "No group of images changed by more than chance explains.");
    if (below.length === 0) return none;
    const items = below.map(({ text, p }) => h("li", {}, text, quiet(pWords(p))));
    return h("div", {}, none, h("details", { class: "below" }, h("summary", {}, "Nearest, not beyond the noise"), h("ol", {}, items)));
  }

  _flips() {
    const { flips, moreFlips } = this.header.diff;
    if (flips.length === 0) return "";
    const rows = flips.map(({ from, to, images, gained, lost }) =>
      h("tr", {}, h("th", { scope: "row" }, `${from} → ${to}`), [images, gained, lost].map((value) => h("td", {}, value === null ? "–" : count(value)))),
    );
    const heads = ["prediction", "images", "now right", "now wrong"].map((name) => h("th", { scope: "col" }, name));
    const more = moreFlips > 0 ? h("p", { class: "quiet" }, `and ${counted(moreFlips, "image")} otherwise`) : "";
    return h("details", { class: "below" }, h("summary", {}, "Predictions that changed"), h("table", {}, h("tr", {}, heads), rows), more);
  }

  _classes() {
    const { classes, moreClasses } = this.header.diff;
    if (classes.length === 0) return "";
    const right = (accuracy) => (accuracy?.every((one) => one !== null) ? `${(100 * accuracy[0]).toFixed(0)} → ${percent(accuracy[1])}` : "–");
    const moved = (effects) => (effects?.length ? h("div", { class: "quiet" }, `${effects[0][0]} ${signed(effects[0][1])}`) : "");
    const rows = classes.map(({ class: name, overlap, flips, accuracy, effects }) =>
      h("tr", {}, h("th", { scope: "row" }, name, moved(effects)), [figure2(overlap), percent(flips), right(accuracy)].map((told) => h("td", {}, told))),
    );
    const heads = ["class", "in common", "otherwise", "right"].map((name) => h("th", { scope: "col" }, name));
    const more = moreClasses > 0 ? `and ${counted(moreClasses, "class", "classes")} more. ` : "";
    const words = `${more}In common: the share of neighbours; otherwise: images predicted otherwise; beneath: the class that its samples now speak most more or less for, in logits.`;
    return h("details", { class: "below" }, h("summary", {}, "Classes, the least in common first"), h("table", {}, h("tr", {}, heads), rows), h("p", { class: "quiet" }, words));
  }

  _notes() {
    const { floor, notes, floored } = this.header.diff;
    const pale = floored ? h("label", { class: "field" }, h("span", {}, "Pale: cells within the noise floor (E)"), this.floor) : "";
    return [pale, floor ? [`Noise floor: ${floor}.`] : [], notes].flat().map((words) => (typeof words === "string" && words !== "" ? h("p", { class: "quiet" }, words) : words));
  }
}
