/* The panel while nothing is selected: what is in view, what the colours mean, and the filters. */

const BARS = 10;
const MATCHES = 200; // names in the list of a search

class Overview {
  /** actions: {set(changes), filter(changes), image(index), look(image): see Caption}; finder: an ImageFinder, or null where ids cannot be searched; suspects:
   * a SuspectList, or null where none were looked for. */
  constructor(header, shards, actions, finder, suspects) {
    Object.assign(this, { header, actions, suspects });
    this.summary = h("p", { class: "quiet" });
    this.legend = h("section", { class: "legend" });
    this.filters = new FilterForm(header, actions.filter);
    this.effect = new NamePicker("effect-class", header.outputs, "Effect on which class?", (effect) => actions.set({ effect }));
    this.regions = new RegionList();
    this.changes = header.diff === null ? null : new ChangeList(header, shards, { layer: (layer) => actions.set({ layer }), change: (change) => actions.filter({ change }), image: actions.image, floor: (floor) => actions.set({ floor }) });
    this.viewed = this._viewed(shards);
    this.hint = h("p", { class: "hint" }, "Point at a cell to see what it holds; click it for its real pictures. Press ? for the keys.");
    this.body = [h("h2", {}, "In view"), this.summary, this.changes?.element ?? "", suspects?.element ?? "", ...(finder === null ? [] : [finder.element]), this.viewed === null ? "" : h("section", {}, h("h3", {}, "Pictures looked into"), this.viewed.element), this.legend, this.filters.element, this.regions.element, this.hint];
  }

  /** The images whose pages were put into a site; null where there are none. */
  _viewed(shards) {
    const { header, actions } = this;
    if (!header.views?.length) return null;
    const gallery = new Gallery(header, shards, actions);
    gallery.show(header.views, null);
    return gallery;
  }

  /** Bring all to a state. census: of the drawn points in view; passing: what the filter leaves; cells: of a colour mode,
   * awaited while they are on their way; pale: see valueColour. */
  show({ census, points, book, state, passing, cells, awaited, pale }) {
    this.pale = pale;
    this.filters.show(state.filter, passing, book);
    this.changes?.show(state.filter.change, state.floor);
    this.suspects?.show(state.suspect);
    this.viewed?.refresh();
    if (points === null) {
      this.summary.textContent = "Loading the samples …";
      return;
    }
    const thinned = points.share < 1;
    const inView = thinned ? `About ${count(census.inView / points.share)} of ${count(book.total)} samples, ${count(census.inView)} of them drawn` : `${count(census.inView)} of ${count(book.total)} samples`;
    this.summary.textContent = filtersAnything(state.filter) ? `${inView}; the filter leaves ${percent(census.live / Math.max(1, census.inView))}` : inView;
    const { groups } = points;
    const stamp = JSON.stringify([[...census.counts], state.colour, state.effect, state.filter.classes, state.filter.columns, cells?.values?.most, awaited, pale]);
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    if (state.colour === "plain") this.legend.replaceChildren();
    else if (groups.scale) this.legend.replaceChildren(...this._scale(state, cells, awaited));
    else this.legend.replaceChildren(...this._groups(census, groups, state));
  }

  _groups(census, groups, state) {
    const order = [...census.counts].sort((a, b) => (groups.ordered ? b[0] - a[0] : b[1] - a[1]));
    const most = Math.max(1, ...census.counts.values());
    const toggle = this._toggleFor(state);
    const shown = this.all || groups.ordered ? order : order.slice(0, BARS);
    const rows = shown.map(([group, samples], i) => this._row(group, samples, most, census.live, groups, toggle, shown[i - 1]?.[0]));
    const rest = order.length - shown.length;
    const column = this.header.columns[columnOf(state.colour) ?? -1];
    const more = () => {
      this.all = true;
      this.stamp = null;
      this.actions.set({});
    };
    return [
      h("h3", {}, column === undefined ? headingOf(state.colour) : (column.heading ?? column.name)),
      column?.words ? h("p", { class: "quiet" }, column.words) : "",
      h("div", { class: column === undefined ? "bars" : "bars wrapped", role: "list" }, rows),
      column === undefined ? "" : h("p", { class: "quiet" }, `${count(column.known)} of ${counted(this.header.images, "image")} have a value in this column.`),
      rest > 0 ? h("button", { class: "quiet-button", click: more }, `and ${counted(rest, column === undefined ? "other class" : "other value", column === undefined ? "other classes" : "other values")} in view`) : "",
    ];
  }

  /** For a legend whose rows filter: {has(group), turn(group)}; null for others. */
  _toggleFor({ colour, filter }) {
    const column = columnOf(colour);
    if (colour === (this.header.labelled ? "label" : "prediction")) {
      return { has: (group) => filter.classes.includes(group), turn: (group) => this.actions.filter({ classes: toggled(filter.classes, group) }) };
    }
    if (column === null || this.header.columns[column].scale !== null) return null;
    const { columns } = this.filters;
    return { has: (group) => columns.codes(column).includes(group), turn: (group) => columns.toggle(column, group) };
  }

  _row(group, samples, most, all, groups, toggle, above) {
    const share = samples / Math.max(1, all);
    const row = [
      groups.shape ? classSwatch(group) : h("span", { class: "swatch", style: { background: css(groups.colour(group)) } }),
      h("span", { class: "name" }, groups.between?.(group, above) ?? groups.name(group)),
      bar(samples / most, css(groups.colour(group))),
      h("span", { class: "figure" }, percent(share, share < 0.1 ? 1 : 0)),
    ];
    if (toggle === null || group < 0) return h("div", { class: "bar-row", role: "listitem" }, row);
    return h("button", { class: "bar-row", role: "listitem", "aria-pressed": String(toggle.has(group)), click: () => toggle.turn(group) }, row);
  }

  _scale(state, cells, awaited) {
    const { colour, effect } = state;
    const steps = Array.from({ length: 11 }, (_, i) => css(valueColour(colour, colour === "effect" ? i / 5 - 1 : i / 10, this.pale)));
    const strip = h("div", { class: "scale", style: { background: `linear-gradient(to right, ${steps.join(",")})` } });
    const ends = {
      density: ["few images", "many"],
      trust: ["do not believe it", "as good as real patches"],
      kept: ["torn from its neighbours", "among them"],
      effect: ["speaks against", "speaks for"],
    }[colour];
    const words = {
      density: "Images in a cell, on a logarithmic scale; at this level.",
      trust: "How well the network still reads the icon after shifts, turns and blurs, over how well it reads the cell's real patches; at most half where the network takes it for the cell beside, none where for one further off. Grey: no icon.",
      kept: `How many of their true nearest neighbours a cell's samples keep on the map; the darkest is ${percent(cells?.values?.most)}. Grey: not measured.`,
      effect: awaited ? "Loading the effects …" : this._effectWords(effect, cells),
    }[colour];
    if (colour === "effect") this.effect.show(effect);
    return [
      h("h3", {}, headingOf(colour)),
      colour === "effect" ? this.effect.element : "",
      strip,
      h("div", { class: "scale-ends" }, h("span", {}, ends[0]), h("span", {}, ends[1])),
      h("p", { class: "quiet" }, words),
    ];
  }

  _effectWords(effect, cells) {
    const most = cells?.values?.most;
    if (most === undefined) return "No cell of this level lists an effect on this class.";
    return `Mean contribution to the logit of ${this.header.outputs[effect]}; full colour is ±${most.toPrecision(2)}, its largest on this level. Grey: not listed.`;
  }
}

/** A field that finds one name of many. */
class NamePicker {
  constructor(id, names, words, choose) {
    this.names = names;
    const list = h("datalist", { id }, names.map((name) => h("option", { value: name })));
    const change = (event) => {
      const index = names.indexOf(event.target.value);
      if (index >= 0) choose(index);
    };
    this.input = h("input", { type: "search", list: id, placeholder: words, "aria-label": words, change });
    this.element = h("div", { class: "picker" }, this.input, list);
  }

  show(index) {
    if (index !== null && !isFocused(this.input)) this.input.value = this.names[index];
  }
}

const isFocused = (element) => element.getRootNode().activeElement === element;

/** The filters' fields. */
class FilterForm {
  constructor(header, change) {
    Object.assign(this, { header, change });
    this.names = filteredNames(header);
    this.counts = h("p", { class: "passing", role: "status" });
    this.clear = h("button", { class: "quiet-button", click: () => change({ ...NO_FILTER }) }, "Show all");
    this.chips = h("div", { class: "chips" });
    this.matches = h("div", { class: "matches", role: "listbox", "aria-label": "Classes found" });
    const words = `Search ${counted(this.names.length, "class", "classes")} …`;
    this.search = h("input", { type: "search", placeholder: words, "aria-label": "Show only these classes", input: () => this._list(), focus: () => this._list(), keydown: (event) => this._key(event) });
    this.low = this._range("Lowest confidence", (low) => ({ low, high: Math.max(low, this.filter.high) }));
    this.high = this._range("Highest confidence", (high) => ({ high, low: Math.min(high, this.filter.low) }));
    this.confidence = h("output", {});
    this.wrong = h("input", { type: "checkbox", change: (event) => change({ wrong: event.target.checked }) });
    this.columns = new ColumnFilters(header, (columns) => change({ columns }));
    this.images = h("input", { type: "number", min: 1, step: 1, "aria-label": "Fewest images in a cell", change: (event) => change({ images: Math.max(1, Math.floor(Number(event.target.value)) || 1) }) });
    this.element = h(
      "section",
      { class: "filters", "aria-label": "Filter" },
      h("div", { class: "filter-head" }, h("h3", {}, "Filter"), this.clear),
      this.counts,
      this.names.length > 0 ? h("div", { class: "finder" }, this.search, this.chips, this.matches) : "",
      header.predicted ? h("div", { class: "field" }, h("span", {}, "Confidence"), h("div", { class: "ranges" }, this.low, this.high), this.confidence) : "",
      header.aligned && header.labelled ? h("label", { class: "field" }, h("span", {}, "Wrong only"), this.wrong) : "",
      h("label", { class: "field" }, h("span", {}, "Images per cell, at least"), this.images),
      this.columns.element,
    );
    this.element.addEventListener("focusout", (event) => {
      if (!this.element.querySelector(".finder")?.contains(event.relatedTarget)) this.matches.replaceChildren();
    });
  }

  _range(words, changes) {
    return h("input", { type: "range", min: 0, max: 100, step: 1, "aria-label": words, input: (event) => this.change(changes(Number(event.target.value))) });
  }

  show(filter, passing, book) {
    this.filter = filter;
    const any = filtersAnything(filter);
    this.clear.hidden = !any;
    this.counts.textContent = passing === null ? "Counting …" : passingWords(passing, book.total);
    for (const [input, value] of [[this.low, filter.low], [this.high, filter.high], [this.images, filter.images]]) {
      if (!isFocused(input) || input.type === "range") input.value = value;
    }
    this.wrong.checked = filter.wrong;
    this.columns.show(filter);
    this.confidence.textContent = `${filter.low} to ${filter.high} %`;
    const stamp = filter.classes.join(",");
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    const chip = (index) => h("button", { class: "chip", title: "Remove", click: () => this._toggle(index) }, classSwatch(index), this.names[index], " ×");
    this.chips.replaceChildren(...filter.classes.map(chip));
  }

  _toggle(index) {
    const { classes } = this.filter;
    this.change({ classes: classes.includes(index) ? classes.filter((one) => one !== index) : [...classes, index] });
  }

  _found() {
    const wanted = this.search.value.trim().toLowerCase();
    return this.names.map((name, index) => index).filter((index) => this.names[index].toLowerCase().includes(wanted));
  }

  _list() {
    const found = this._found();
    const row = (index) => {
      const choose = () => {
        this._toggle(index);
        this._close();
      };
      return h("button", { role: "option", "aria-selected": String(this.filter.classes.includes(index)), click: choose }, classSwatch(index), this.names[index]);
    };
    const rest = found.length - MATCHES;
    this.matches.replaceChildren(
      ...found.slice(0, MATCHES).map(row),
      rest > 0 ? h("p", { class: "quiet" }, `and ${count(rest)} more: type more of the name`) : "",
      found.length === 0 ? h("p", { class: "quiet" }, "No class has this in its name.") : "",
    );
  }

  _key(event) {
    if (event.key === "Enter") {
      const [first] = this._found();
      if (first !== undefined) this._toggle(first);
      this._close();
    } else if (event.key === "Escape") {
      this._close();
      this.search.blur();
    } else return;
    event.stopPropagation();
  }

  /** Put the list away: it lies over the other filters. */
  _close() {
    this.search.value = "";
    this.matches.replaceChildren();
  }
}

const passingWords = ({ samples, exact }, total) => `${exact ? "" : "about "}${count(samples)} of ${count(total)} samples`;

const headingOf = (mode) =>
  ({
    label: "Labels", prediction: "Predictions", correct: "Correct or wrong", confidence: "Confidence",
    density: "Density of cells", trust: "Trust in icons", kept: "Trust in the map", effect: "Effect on one class",
  })[mode] ?? "";
