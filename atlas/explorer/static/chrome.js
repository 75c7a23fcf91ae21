/* What stands around the map: header, switches, status line, the card under the pointer, the first explanation. */

const HELP_SEEN = "activation-atlas-help-closed";

const INTRODUCTION = [
  "Every square is a small region of what the network sees: pictures that it finds alike lie close together.",
  "A square's icon is drawn by the computer: what the network itself looks for there. It is no photograph.",
  "Small squares hold few images, full ones many. Empty ground means that nothing fell there.",
  "Zoom in, and every square splits into four. Press P for the real pictures, S for the single samples.",
  "Click a square for its pictures, its labels, and how far its icon can be believed.",
];

const KEYS = [
  ["+ and −", "zoom"], ["arrows", "move"], ["0", "home"], ["P", "real pictures"], ["S", "samples"],
  ["D", "size by density"], ["[ and ]", "coarser, finer level"], ["A", "automatic level"], ["Esc", "close, clear"],
];

/** A row of choices, one of them on. choices: [value, words, key]. */
class Switch {
  constructor(name, choices, choose) {
    this.buttons = choices.map(([value, words, title]) =>
      h("button", { "data-value": value, title, click: () => choose(value) }, words),
    );
    this.element = h("div", { class: "switch", role: "group", "aria-label": name }, h("span", {}, name), h("div", {}, this.buttons));
  }

  show(value) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.value === value));
  }
}

class Menu {
  constructor(name, choices, choose) {
    const options = choices.map(([value, words]) => h("option", { value }, words));
    this.select = h("select", { "aria-label": name, change: (event) => choose(event.target.value) }, options);
    this.element = h("label", { class: "menu" }, h("span", {}, name), this.select);
  }

  show(value) {
    this.select.value = value;
  }
}

class Chrome {
  /** actions: {set(changes), colour(mode), zoom(factor), home(), overview()} */
  constructor(header, actions) {
    Object.assign(this, { header, actions });
    this.cells = new Switch("Cells", cellChoices(header), (cells) => actions.set({ cells }));
    this.points = new Switch(
      "Samples",
      [["off", "Off", "S"], ["over", "Over", "S: one point per sample, over the cells"], ["only", "Only", "S"]],
      (points) => actions.set({ points }),
    );
    this.colour = new Menu("Colour", colourModes(header), (colour) => actions.colour(colour));
    this.layer = new Menu("Layer", header.layers.map(({ name }, i) => [i, name]), (layer) => actions.set({ layer: Number(layer) }));
    this.level = new Menu("Level", [["auto", "Automatic"]], (value) => actions.set({ locked: value === "auto" ? null : Number(value) }));
    this.head = this._head();
    this.status = h("div", { class: "status", role: "status" });
    this.levelWords = h("div", { class: "level-words" });
    this.card = h("div", { class: "card", hidden: true });
    this.help = this._help();
    this.overlay = h("div", { class: "overlay" }, this.levelWords, this._zoomButtons());
  }

  _head() {
    const { header } = this;
    const origin = [header.model, header.dataset && `on ${header.dataset}`].filter(Boolean).join(" ");
    const accuracy = header.accuracy === null ? "" : `accuracy ${percent(header.accuracy, 1)}`;
    const facts = [accuracy, origin].filter(Boolean).join(" · ");
    const help = h("button", { class: "round", title: "What am I looking at? (?)", "aria-label": "What am I looking at?", click: () => this.toggleHelp() }, "?");
    const go = (address) => window.location.assign(address);
    const atlases = new Menu("Atlas", header.atlases.map(([name, address]) => [address, name]), go);
    atlases.show(window.location.pathname);
    return h(
      "header",
      { class: "head" },
      h("div", { class: "title", title: [header.name, facts].join("\n") }, h("h1", {}, header.name), h("p", {}, facts)),
      h(
        "div",
        { class: "controls" },
        header.atlases.length > 1 ? atlases.element : "",
        header.layers.length > 1 ? this.layer.element : h("span", { class: "menu" }, h("span", {}, "Layer"), header.layers[0]?.name ?? "none"),
        this.level.element,
        this.cells.element,
        this.points.element,
        this.colour.element,
        help,
      ),
    );
  }

  _zoomButtons() {
    const button = (sign, title, click) => h("button", { title, "aria-label": title, click }, sign);
    return h(
      "div",
      { class: "zoom" },
      button("+", "Zoom in (+)", () => this.actions.zoom(2)),
      button("−", "Zoom out (−)", () => this.actions.zoom(0.5)),
      button("⌂", "The whole map (0)", () => this.actions.home()),
    );
  }

  _help() {
    const close = h("button", { class: "close", "aria-label": "Close the explanation", click: () => this.toggleHelp(false) }, "×");
    const keys = KEYS.map(([key, words]) => h("span", {}, h("kbd", {}, key), ` ${words}`));
    const box = h(
      "section",
      { class: "help", "aria-label": "What am I looking at?" },
      close,
      h("h2", {}, "What am I looking at?"),
      h("ol", {}, INTRODUCTION.map((line) => h("li", {}, line))),
      h("details", {}, h("summary", {}, "Keys"), h("p", { class: "keys" }, keys)),
    );
    box.hidden = remembered(HELP_SEEN) !== null;
    return box;
  }

  /** The explanation stands on top of the overview, where it hides nothing of the map. */
  toggleHelp(open = this.help.hidden || !this.help.isConnected) {
    this.help.hidden = !open;
    if (open) this.actions.overview();
    else remember(HELP_SEEN, "yes");
  }

  /** Bring all switches and the status line to a state; level is what the map shows, points what is painted. */
  show(state, level, points, loading) {
    const layer = this.header.layers[state.layer];
    this.cells.show(state.cells);
    this.points.show(state.points);
    this.colour.show(state.colour);
    this.layer.show(String(state.layer));
    this._showLevels(state, layer);
    const grid = level === null ? "No level is rendered yet" : `Level ${level.level} · ${level.side} × ${level.side} cells`;
    const held = state.locked !== null && level !== null && level.level !== state.locked;
    const real = level !== null && level.icons === 0 && state.cells === "icons" ? " · real pictures: no icons rendered" : "";
    const words = `${grid}${held ? ` · level ${state.locked} when you zoom in` : ""}${real}${loading ? " · loading …" : ""}`;
    if (this.levelWords.textContent !== words) this.levelWords.textContent = words;
    const line = this._counts(layer, points, state);
    if (this.status.textContent !== line) this.status.textContent = line;
  }

  _showLevels(state, layer) {
    const names = JSON.stringify([state.layer]);
    if (this.levelsOf !== names) {
      this.levelsOf = names;
      const levels = layer.levels.map(({ level, side }) => h("option", { value: String(level) }, `${level} · ${side} × ${side}`));
      this.level.select.replaceChildren(h("option", { value: "auto" }, "Automatic"), ...levels);
    }
    this.level.show(state.locked === null ? "auto" : String(state.locked));
  }

  _counts(layer, points, state) {
    const { header } = this;
    const parts = [counted(header.images, "image"), counted(layer.samples, "sample")];
    parts.push(`${counted(layer.outliers, "outlier")} left out`);
    if (header.skipped > 0) parts.push(`${counted(header.skipped, "unreadable picture")} skipped`);
    if (state.points !== "off" && points !== null) {
      const cut = points.length < points.total;
      parts.push(cut ? `drawn: ${count(points.length)} of ${count(points.total)} samples` : `all ${count(points.total)} drawn`);
    }
    if (state.only !== null) parts.push(`only ${(header.labelled ? header.classes : header.outputs)[state.only]}`);
    if (!header.complete) parts.push("still being built");
    return [...parts, ...header.notes].join(" · ");
  }

  // ---- the card under the pointer ----

  hideCard() {
    this.card.hidden = true;
    this.cardOf = null;
  }

  /** Show a card about `subject` (compared by identity) near (x, y); build() makes its content. */
  showCard(subject, x, y, build) {
    if (this.cardOf !== subject) {
      this.card.replaceChildren(...build());
      this.cardOf = subject;
    }
    this.card.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.card;
    const { clientWidth, clientHeight } = this.card.parentElement;
    const left = x + 22 + width > clientWidth ? x - 22 - width : x + 22;
    const top = Math.min(Math.max(8, y - height / 3), clientHeight - height - 8);
    this.card.style.transform = `translate(${Math.round(Math.max(8, left))}px, ${Math.round(Math.max(8, top))}px)`;
  }
}

const cellChoices = (header) => {
  const icons = ["icons", "Icons", "What the network looks for"];
  return header.pictures ? [icons, ["pictures", "Pictures", "P: each cell's most typical real picture"]] : [icons];
};

/** A hover card's content for a cell. */
function cellCard(found, header, tiles) {
  const { cell } = found;
  const rows = [];
  for (let i = 0; i < Math.min(6, cell.labels.length); i += 2) {
    rows.push([header.classes[cell.labels[i]], percent(cell.labels[i + 1] / cell.images)]);
  }
  const effects = cell.effects.filter(([, value]) => value > 0).map(([output, value]) => [header.outputs[output], signed(value)]);
  const facts = [counted(cell.images, "image"), counted(cell.samples, "sample")];
  if (cell.accuracy !== null) facts.push(`${percent(cell.accuracy)} right`);
  return [
    cellPicture(found, tiles, 8),
    h(
      "div",
      {},
      rows.length ? cardList("Labels", rows) : "",
      effects.length ? cardList("Speaks for", effects) : "",
      h("p", { class: "quiet" }, facts.join(" · ")),
    ),
  ];
}

const cardList = (title, rows) => [
  h("h4", {}, title),
  h("dl", {}, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
];

/** A hover card's content for one sample's image, or null while that is on its way. */
function pointCard(image, shards, header) {
  const shard = shards.get(`image/${Math.floor(image / IMAGES_PER_SHARD)}`);
  if (!shard) return null;
  const place = image % IMAGES_PER_SHARD;
  const record = { label: shard.label[place], prediction: shard.prediction[place], confidence: shard.confidence[place] };
  const words = h("div", {}, h("p", { class: "id" }, shard.ids[place]), h("p", {}, labelWords(record, header)));
  if (shard.sheet === null) return [words];
  const size = header.thumbnailSize;
  const canvas = h("canvas", { class: "cell-picture", width: size, height: size, style: { "--side": "8em" } });
  return drawThumbnail(shards, image, canvas, size) ? [canvas, words] : null;
}

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage is refused in some frames: then nothing is remembered
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // see remembered()
  }
}
