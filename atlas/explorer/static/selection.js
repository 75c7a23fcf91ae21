/* The panel of a selection: its images, its classes against the whole, and what can be done with it. */

const IDS_PER_SHARD = 4096;

class SelectionPanel {
  /** actions: {close(), fit(), image(index), look(image): see Caption, keep(name, note), level()}; parquet: null, or rows => a file's bytes. */
  constructor(header, shards, actions) {
    Object.assign(this, { header, shards, actions });
    this.element = h("div", { class: "selection" });
    this.gallery = new Gallery(header, shards, actions);
  }

  /** Show what is selected: columns of samples (see pointbook.js), or null while some are on their way. */
  show(columns, layer, state) {
    const close = h("button", { class: "close", "aria-label": "Clear the selection", title: "Clear (Esc)", click: () => this.actions.close() }, "×");
    if (columns === null) {
      this.element.replaceChildren(h("div", { class: "panel-head" }, h("h2", {}, "Selection"), close), h("p", { class: "quiet" }, "Loading the samples …"));
      return;
    }
    Object.assign(this, { columns, layer });
    this.images = [...new Set(columns.image)];
    const filter = filterWords(this.header, state.filter);
    this.element.replaceChildren(
      h("div", { class: "panel-head" }, h("h2", {}, counted(columns.length, "sample")), close),
      h("p", { class: "quiet" }, `of ${counted(this.images.length, "image")}${filter ? ` · ${filter}` : ""}`),
      this._actions(),
      this._makeUp(),
      h("h3", {}, "Images"),
      this.gallery.element,
    );
    this.gallery.show(this.images, layer);
  }

  /** A shard has come: paint what waited for it. */
  refresh(key) {
    if (key.startsWith("image/") || key === "decoded") this.gallery.refresh();
  }

  _actions() {
    const button = (words, title, click) => h("button", { class: "quiet-button", title, click }, words);
    const name = `${this.header.name}-selection`;
    const csv = asking("Writing …", async () => saveFile(`${name}.csv`, "text/csv", await selectionCsv(this)));
    const parquet = asking("Writing …", async () => saveFile(`${name}.parquet`, "application/octet-stream", await this.actions.parquet(this.columns.row)));
    return h(
      "div",
      { class: "actions" },
      button("Fit", "Zoom to the selection (F)", () => this.actions.fit()),
      button("CSV", "x, y, id, label, prediction and cell of each sample", csv),
      this.actions.parquet ? button("Parquet", "The same as a Parquet file", parquet) : "",
      this._keeper(),
    );
  }

  _keeper() {
    const name = h("input", { type: "text", placeholder: "Name", "aria-label": "The region's name", maxlength: 120 });
    const note = h("textarea", { placeholder: "Note", "aria-label": "A note on the region", rows: 2, maxlength: 4000 });
    const said = h("p", { class: "quiet", role: "status" });
    const keep = async () => {
      if (name.value.trim() === "") {
        name.focus();
        return;
      }
      try {
        await this.actions.keep(name.value.trim(), note.value.trim());
        said.textContent = "Kept: it is listed when nothing is selected.";
      } catch (error) {
        said.textContent = `Not kept: ${error.message}.`;
      }
    };
    const open = h("details", { class: "keeper" }, h("summary", {}, "Keep as a region …"), name, note, h("button", { class: "quiet-button", click: keep }, "Keep"), said);
    return open;
  }

  /** Samples by label, beside what the whole layer holds. */
  _makeUp() {
    const { header, columns } = this;
    const names = filteredNames(header);
    const of = header.labelled ? columns.label : columns.prediction;
    if (names.length === 0 || columns.length === 0) return "";
    const counts = new Map();
    for (const index of of) counts.set(index, (counts.get(index) ?? 0) + 1);
    const whole = header.labelled ? header.layers[this.layer].labels : null;
    const all = whole?.reduce((sum, samples) => sum + samples, 0) || 1;
    const order = [...counts].filter(([index]) => index >= 0).sort((a, b) => b[1] - a[1]);
    const widest = Math.max(...order.slice(0, BARS).map(([index, samples]) => Math.max(samples / columns.length, whole === null ? 0 : whole[index] / all)));
    const rows = order.slice(0, BARS).map(([index, samples]) => {
      const share = samples / columns.length;
      const usual = whole === null ? null : whole[index] / all;
      const row = barRow(names[index], share / widest, css(classColour(index)), percent(share, share < 0.1 ? 1 : 0));
      if (usual !== null) {
        row.querySelector(".track").append(h("span", { class: "usual", style: { left: `${(usual / widest) * 100}%` } }));
        row.title = `${names[index]}: ${percent(share, 1)} of the selection, ${percent(usual, 1)} of all samples`;
      }
      return row;
    });
    const rest = order.length - rows.length;
    return h(
      "section",
      {},
      h("h3", {}, header.labelled ? "Labels, against the whole" : "Predictions"),
      h("div", { class: "bars" }, rows),
      rest > 0 ? h("p", { class: "quiet" }, `and ${counted(rest, "other class", "other classes")}`) : "",
      whole === null ? "" : h("p", { class: "quiet" }, "The line in a bar marks the class's share of all samples."),
    );
  }
}

/** The selection as CSV: what pandas, embedding-atlas and FiftyOne open as it is. */
async function selectionCsv({ header, shards, columns, actions }) {
  const { level, side } = actions.level();
  const lines = ["x,y,id,label,prediction,cell"];
  for (let i = 0; i < columns.length; i++) {
    const image = columns.image[i];
    const at = (value) => Math.min(side - 1, Math.floor(value * side));
    const cell = `${level}/${at(columns.x[i])}/${at(columns.y[i])}`;
    const names = [await imageId(shards, image), header.classes[columns.label[i]] ?? "", header.outputs[columns.prediction[i]] ?? ""];
    lines.push([columns.x[i].toFixed(5), columns.y[i].toFixed(5), ...names.map(csvField), cell].join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

const csvField = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

async function imageId(shards, image) {
  const names = await shards.wait(`names/${Math.floor(image / IDS_PER_SHARD)}`);
  if (names === null) throw new Error("the ids of some images are not in this page");
  return names.ids[image % IDS_PER_SHARD];
}

/** Hand the user a file. */
function saveFile(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = h("a", { href: address, download: name.replace(/[^\w.\- ]+/g, "_") });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
