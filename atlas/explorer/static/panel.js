/* The panel on the right: what is in view, or all about one cell. */

class Panel {
  /** actions: {close(), image(index), cell(column, row), fine(found): an element, or null without a network,
   *  look(image): see Caption} */
  constructor(header, shards, tiles, actions) {
    Object.assign(this, { header, shards, tiles, actions });
    this.element = h("aside", { class: "panel", "aria-label": "Details" });
    this.shown = null;
    this.content = ""; // "overview", "cell" or "selection"
  }

  /** Give the panel to others' elements. */
  showOnly(content, elements) {
    this.content = content;
    this.shown = null;
    this.element.replaceChildren(...elements);
    this.element.scrollTop = 0;
  }

  showWaiting(words) {
    const close = h("button", { class: "close", "aria-label": "Close the details", click: () => this.actions.close() }, "×");
    this.showOnly("waiting", [h("div", { class: "panel-head" }, h("p", { class: "quiet" }, words), close)]);
  }

  // ---- one cell ----

  /** Show a cell as found by TileLayer.cellAt; what its other shards bring is added when they arrive. */
  showCell(found) {
    const again = this.content === "cell" && this.shown?.tile === found.tile && this.shown.slot === found.slot;
    this.content = "cell";
    this.shown = found;
    const { cell, column, row, level } = found;
    const detail = this._detail();
    const title = titleOf(cell, this.header);
    const place = `Level ${level.level}, column ${column}, row ${row} from the bottom`;
    const { layers } = this.header; // the same place means something else in each
    const where = layers.length > 1 ? `${layers[found.layer].name} · ${place}` : place;
    const close = h("button", { class: "close", "aria-label": "Close the details", click: () => this.actions.close() }, "×");
    this.element.replaceChildren(
      h("div", { class: "panel-head" }, h("div", {}, h("h2", {}, title), h("p", { class: "quiet" }, where)), close),
      ...this._evidence(found, detail),
      ...(detail === null
        ? [h("p", { class: "quiet" }, "Loading the details …")]
        : [this._labels(cell), this._confusions(detail), this._effects(detail), detail.change === null ? "" : effectChanges(detail.change, this.header), this._near(detail), this._ids(detail)]),
    );
    if (!again) this.element.scrollTop = 0;
  }

  /** Say how much of the cell the filter leaves; "" where it leaves everything. */
  showLeft(words) {
    if (this.left && this.left.textContent !== words) this.left.textContent = words;
  }

  /** Icon and real patches; the patches first where the icon is not to be believed. */
  _evidence(found, detail) {
    const portrait = this._portrait(found, detail);
    this.left ??= h("p", { class: "quiet left-of-cell", role: "status" });
    const numbers = h("div", {}, this._numbers(found.cell), this.left);
    if (detail === null) return [portrait, numbers];
    if (detail.change !== null) numbers.append(h("p", { class: "cell-change" }, cellChangeWords(detail.change, this.header)));
    const patches = this._patches(detail, found.layer);
    const doubted = trust(found).tone === "poor";
    return doubted ? [numbers, patches, portrait] : [portrait, numbers, patches];
  }

  /** Called when a shard arrives or a sheet is decoded: repaint the parts of the shown cell that waited for it. */
  refresh(key) {
    if (this.shown === null) return;
    const portrait = this.element.querySelector(".portrait .cell-picture");
    if (portrait?.classList.contains("empty")) portrait.replaceWith(cellPicture(this.shown, this.tiles, 9.5));
    // Whatever has come, what is still missing is asked for again: a request that nobody repeats is dropped.
    if (key.startsWith("detail/")) this.showCell(this.shown);
    else this._detail();
    this._paintPatches?.();
  }

  _detail() {
    const { tile, slot } = this.shown;
    return this.shards.get(`detail/${tile.key}`)?.cells[slot] ?? null;
  }

  _portrait(found, detail) {
    const words = detail === null ? null : trust(found);
    const { scores } = found.cell;
    return h(
      "div",
      { class: "portrait" },
      cellPicture(found, this.tiles, 9.5),
      words === null
        ? ""
        : h(
            "div",
            { class: "trust" },
            h("p", { class: `verdict ${words.tone}` }, words.verdict),
            h("p", {}, words.reason),
            scores ? h("p", {}, strengthWords(scores.strength)) : "",
            detail.kept === null ? "" : h("p", {}, `On the map its samples keep ${percent(detail.kept)} of their true neighbours.`),
          ),
      this.actions.fine ? this.actions.fine(found) : "",
    );
  }

  _numbers(cell) {
    const pairs = [
      [count(cell.images), cell.images === 1 ? "image" : "images"],
      [count(cell.samples), cell.samples === 1 ? "sample" : "samples"],
    ];
    if (cell.accuracy !== null) pairs.push([percent(cell.accuracy), "accuracy"]);
    if (cell.confidence !== null) pairs.push([percent(cell.confidence), "confidence"]);
    return h("dl", { class: "numbers" }, pairs.map(([value, name]) => h("div", {}, h("dd", {}, value), h("dt", {}, name))));
  }

  _patches(detail, layer) {
    if (!this.header.pictures) {
      return h("p", { class: "quiet" }, "This copy was made without the dataset's pictures.");
    }
    if (detail.patches.length === 0) return "";
    const caption = new Caption(this.header, this.shards, this.actions.look, "Point at one for its picture; click it to go to all its places on the map.");
    const slots = detail.patches.map((patch) => {
      const image = h("img", { alt: patch.id, draggable: "false" });
      const title = `${patch.id}\n${labelWords(patch, this.header)}`;
      const more = patch.cosine === null ? [] : [h("p", { class: "quiet" }, `cosine to the cell's mean ${figure2(patch.cosine)}`)];
      const kind = hasView(this.header, patch.image) ? "patch viewed" : "patch";
      return { patch, image, button: h("button", { class: kind, title, ...caption.events({ ...patch, layer, more }, this.actions.image) }, image) };
    });
    this._paintPatches = () => {
      for (const { patch, image } of slots) {
        const uri = this.shards.get(`patch/${layer}/${patch.page[0]}`)?.pictures[patch.page[1]];
        if (uri && !image.src) image.src = uri;
      }
      caption.refresh();
    };
    this._paintPatches();
    const heading = `${counted(slots.length, "real patch", "real patches")} nearest to the cell's mean, each of another image`;
    return h("section", {}, h("h3", {}, heading), caption.around(h("div", { class: "patches" }, slots.map(({ button }) => button))), caption.element);
  }

  _labels(cell) {
    if (cell.labels.length === 0) return "";
    const rows = [];
    for (let i = 0; i < cell.labels.length && rows.length < BARS; i += 2) {
      const [index, images] = [cell.labels[i], cell.labels[i + 1]];
      rows.push(barRow(this.header.classes[index], images / cell.labels[1], css(classColour(index)), count(images)));
    }
    const rest = cell.labels.length / 2 - rows.length;
    const more = rest > 0 ? h("p", { class: "quiet" }, `and ${counted(rest, "other label", "other labels")}`) : "";
    return h("section", {}, h("h3", {}, "Images by label"), h("div", { class: "bars" }, rows), more);
  }

  _confusions({ confusions }) {
    if (confusions === null || confusions.images === 0) return "";
    const { classes, outputs } = this.header;
    const rows = confusions.pairs.map(([label, prediction, images]) => {
      const name = h("span", { class: "names" }, classSwatch(label), h("span", {}, classes[label]), " → ", classSwatch(prediction), h("span", {}, outputs[prediction]));
      return h("div", { class: "confusion", title: `labelled ${classes[label]}, predicted ${outputs[prediction]}` }, name, h("span", { class: "figure" }, count(images)));
    });
    const more = confusions.others > 0 ? h("p", { class: "quiet" }, `and ${counted(confusions.others, "image")} of other pairs`) : "";
    const heading = `Wrong: ${counted(confusions.images, "image")}, label → prediction`;
    return h("section", {}, h("h3", {}, heading), h("div", { class: "bars confusions" }, rows), more);
  }

  _effects(detail) {
    if (detail.effects.length === 0) return "";
    const most = Math.max(...detail.effects.map(([, value]) => Math.abs(value ?? 0))) || 1;
    const [first, last] = [detail.effects.slice(0, 6), detail.effects.slice(6).slice(-4)];
    const rows = [...first, ...last.filter(([, value]) => value < 0)].map(([output, value]) =>
      barRow(this.header.outputs[output], (value ?? 0) / most, value < 0 ? "var(--minus)" : "var(--plus)", signed(value ?? 0), true),
    );
    const over = `Mean contribution to each class's logit, over ${counted(detail.effectSamples, "sample")}.`;
    return h("section", {}, h("h3", {}, "What it speaks for and against"), h("div", { class: "bars" }, rows), h("p", { class: "quiet" }, over));
  }

  _near(detail) {
    const { level, layer } = this.shown;
    const rows = [];
    for (const [column, row, cosine] of detail.near) {
      const found = this.tiles.cellAt(layer, level, (column + 0.5) / level.side, (row + 0.5) / level.side);
      const name = found === null ? `column ${column}, row ${row}` : titleOf(found.cell, this.header);
      const picture = found === null ? h("div", { class: "cell-picture empty", style: { "--side": "3.2em" } }) : cellPicture(found, this.tiles, 3.2);
      rows.push(h("button", { class: "near", title: name, click: () => this.actions.cell(column, row) }, picture, h("span", { class: "name" }, name), h("span", { class: "figure" }, figure2(cosine))));
    }
    if (rows.length === 0) return "";
    const over = "By the cosine of their mean activations, wherever they lie on the map.";
    return h("section", {}, h("h3", {}, "Most alike cells"), h("div", { class: "nears" }, rows), h("p", { class: "quiet" }, over));
  }

  _ids(detail) {
    if (detail.patches.length === 0) return "";
    const ids = detail.patches.map((patch) => patch.id).join("\n");
    const copy = async (event) => {
      const button = event.currentTarget;
      const copied = await copyText(ids);
      if (!copied) list.getRootNode().getSelection?.().selectAllChildren(list);
      button.textContent = copied ? "Copied" : "Marked: copy them yourself";
    };
    const list = h("pre", { class: "ids" }, ids);
    const label = `Ids of these ${counted(detail.patches.length, "image")}`;
    return h("details", {}, h("summary", {}, label), list, h("button", { class: "quiet-button", click: copy }, "Copy"));
  }
}

/** A cell in a few words: its labels where one or two make up most of it, else the commonest with their shares; without
 * labels what it speaks for most. */
function titleOf(cell, header) {
  const { labels, images } = cell;
  if (labels.length === 0) return cell.effects.length > 0 ? header.outputs[cell.effects[0][0]] : counted(images, "image");
  const name = (i) => header.classes[labels[2 * i]];
  const share = (i) => (labels[2 * i + 1] ?? 0) / images;
  if (share(0) > 0.8) return name(0);
  if (share(0) > 0.5) return `Mostly ${name(0)}`;
  if (share(0) + share(1) > 0.8) return `${name(0)} and ${name(1)}`;
  const first = [0, 1].filter((i) => share(i) > 0).map((i) => `${name(i)} ${percent(share(i))}`);
  return `${first.join(", ")}${labels.length > 4 ? "\u00a0…" : ""}`;
}

function labelWords({ label, prediction, confidence }, { classes, outputs }) {
  const words = [];
  if (label >= 0) words.push(`labelled ${classes[label]}`);
  if (prediction >= 0) words.push(`predicted ${outputs[prediction]}${confidence === null ? "" : ` at ${percent(confidence)}`}`);
  return words.join(", ") || "no label";
}

function bar(share, colour, twoSided = false) {
  const width = `${Math.abs(share) * (twoSided ? 50 : 100)}%`;
  const left = twoSided ? (share < 0 ? `calc(50% - ${width})` : "50%") : "0";
  return h("span", { class: twoSided ? "track two-sided" : "track" }, h("span", { class: "fill", style: { width, left, background: colour } }));
}

function barRow(name, share, colour, figure, twoSided = false) {
  return h("div", { class: "bar-row", title: name }, h("span", { class: "name" }, name), bar(share, colour, twoSided), h("span", { class: "figure" }, figure));
}

/** A cell's icon, or where it has none its best real patch, `side` em wide. */
function cellPicture(found, tiles, side) {
  const { cell, tile, slot, layer } = found;
  const style = { "--side": `${side}em` };
  const sheet = cell.icon ? tiles.iconSheet(tile, layer) : cell.real ? tiles.realSheet(tile, layer) : null;
  if (!sheet?.image) return h("div", { class: "cell-picture empty", style }, sheet === null && (cell.icon || cell.real) ? "" : "too few images");
  const { image, size } = sheet;
  const canvas = h("canvas", { class: "cell-picture", style, width: size, height: size });
  const [x, y] = [(slot % TILE_SIDE) * size, Math.floor(slot / TILE_SIDE) * size];
  canvas.getContext("2d").drawImage(image, x, y, size, size, 0, 0, size, size);
  return canvas;
}

const IMAGES_PER_SHARD = 64; // thumbnails come in sheets of 8 x 8
const decodedSheets = new WeakMap();

/** Draw an image's thumbnail onto a canvas; false while it is on its way (changed() is called when it is there). */
function drawThumbnail(shards, image, canvas, size) {
  const key = `image/${Math.floor(image / IMAGES_PER_SHARD)}`;
  const shard = shards.get(key);
  if (!shard?.sheet) return false;
  if (!decodedSheets.has(shard)) decodedSheets.set(shard, decodePicture(shard.sheet, () => shards.changed(key)));
  const sheet = decodedSheets.get(shard).image;
  if (sheet === null) return false;
  const slot = image % IMAGES_PER_SHARD;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(sheet, (slot % 8) * size, Math.floor(slot / 8) * size, size, size, 0, 0, canvas.width, canvas.height);
  canvas.dataset.drawn = "yes";
  return true;
}

/** Frame a patch inside its picture, which lies letterboxed in a square. */
function drawBox(canvas, { box, aspect }) {
  const context = canvas.getContext("2d");
  const [w, h] = aspect >= 1 ? [1, 1 / aspect] : [aspect, 1];
  const at = (share, whole, side) => ((1 - whole) / 2 + share * whole) * side;
  const [left, right] = [at(box[0], w, canvas.width), at(box[2], w, canvas.width)];
  const [top, bottom] = [at(box[1], h, canvas.height), at(box[3], h, canvas.height)];
  for (const [colour, line] of [["rgba(255,255,255,.95)", 5], ["#d6266a", 2.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(left + 2, top + 2, Math.max(1, right - left - 4), Math.max(1, bottom - top - 4));
  }
}
