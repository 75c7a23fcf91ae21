/* The panel of one suspect: what it is, whether the network uses it, whether it is spurious, and what the user says. */

const SUSPECT_PICTURES = 8; // of either side at first

class SuspectPanel {
  /** actions: {close(), fit(), image(index), look(image): see Caption, step(by), csv(index), only(index, on): show its images alone} */
  constructor(header, shards, marks, actions) {
    Object.assign(this, { header, shards, marks, actions });
    this.element = h("div", { class: "suspect-panel" });
    this.index = null;
  }

  get suspect() {
    return this.header.suspects.listed[this.index];
  }

  show(index) {
    this.index = index;
    this.more = false;
    this.detail = undefined;
    this._build();
  }

  /** A shard has come, or a sheet is decoded. */
  refresh(key) {
    if (this.index === null || !this.element.isConnected) return;
    if (this.detail === undefined) this._build();
    else if (key.startsWith("image/") || key === "decoded") this._paint?.();
  }

  /** Whether the filter leaves its images alone. */
  filtered(on) {
    this.only?.setAttribute("aria-pressed", String(on));
  }

  /** What is said of it has changed. */
  told() {
    if (this.index !== null && this.judge) this._showJudgement();
  }

  /** Say a mark of it, or take the one that is said back. */
  async mark(mark) {
    const { mark: now } = this.marks.of(this.suspect);
    await this._say(mark === now ? null : mark);
  }

  _build() {
    const { suspect } = this;
    this.detail = this.shards.get(`suspect/${this.index}`);
    const { detail } = this;
    this.element.replaceChildren(
      this._head(suspect),
      h("p", { class: "said" }, suspect.text),
      h("dl", { class: "verdicts" }, this._verdict(USED_WORDS[suspect.used], suspect.whyUsed, "none"), this._verdict(SPURIOUS_WORDS[suspect.spurious], suspect.whySpurious, TONES[suspect.spurious])),
      this._judgement(),
      ...(detail === undefined
        ? [h("p", { class: "quiet" }, "Loading the evidence …")]
        : detail === null
          ? [h("p", { class: "quiet" }, "The evidence is not in this page.")]
          : [this._pictures(detail), this._icons(detail), causalCharts(detail.tests, suspect.feeds), this._figures(detail)]),
    );
    this._paint?.();
  }

  _head(suspect) {
    const last = this.header.suspects.listed.length - 1;
    const step = (by, sign, title) => h("button", { class: "step-button", title, "aria-label": title, disabled: by < 0 ? this.index === 0 : this.index === last, click: () => this.actions.step(by) }, sign);
    const close = h("button", { class: "close", "aria-label": "Close the suspect", title: "Back to the list (Esc)", click: () => this.actions.close() }, "×");
    const badge = h("span", { class: "badge", "data-tone": suspectTone(suspect, this.marks.of(suspect)) }, String(this.index + 1));
    this.badge = badge;
    const facts = [KINDS[suspect.kind] ?? suspect.kind, counted(suspect.images, "image"), `score ${figure2(suspect.score)}`, pWords(suspect.p)].filter(Boolean).join(" · ");
    this.only = h("button", { class: "quiet-button", "aria-pressed": "false", title: "Filter: its images alone; one in several suspects counts for the first", click: () => this.actions.only(this.index, this.only.getAttribute("aria-pressed") !== "true") }, "Only its images");
    return h(
      "div",
      {},
      h("div", { class: "panel-head" }, h("h2", {}, badge, suspectTitle(suspect)), h("span", { class: "steps" }, step(-1, "‹", "The suspect before (K)"), step(1, "›", "The next suspect (J)"), close)),
      h("p", { class: "quiet" }, facts),
      h("div", { class: "actions" }, h("button", { class: "quiet-button", title: "Zoom to it (F)", click: () => this.actions.fit() }, "Go there"), this.only, h("button", { class: "quiet-button", title: "id, suspect, mark and membership of each of its images", click: asking("Writing …", () => this.actions.csv(this.index)) }, "Members as CSV")),
    );
  }

  _verdict(words, why, tone) {
    return h("div", {}, h("dt", { class: `verdict ${tone}` }, words), h("dd", {}, why));
  }

  // ---- what the user says ----

  _judgement() {
    const buttons = JUDGEMENTS.map(([mark, words, title]) => h("button", { "data-value": mark, title, click: () => this.mark(mark) }, words));
    const note = h("textarea", { placeholder: "Note", "aria-label": "A note on the suspect", rows: 2, maxlength: 4000, change: () => this._say(this.marks.of(this.suspect).mark) });
    const said = h("p", { class: "quiet", role: "status" });
    this.judge = { buttons, note, said };
    const element = h("section", { class: "judge" }, h("h3", {}, "What do you say?"), h("div", { class: "switch", role: "group", "aria-label": "Your mark" }, h("div", {}, buttons)), note, said);
    this._showJudgement();
    return element;
  }

  _showJudgement() {
    const { buttons, note, said } = this.judge;
    const { suspect } = this;
    const kept = this.marks.of(suspect);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === kept.mark));
    if (!isFocused(note)) note.value = kept.note;
    this.badge.dataset.tone = suspectTone(suspect, kept);
    said.textContent = this.marks.where;
  }

  async _say(mark) {
    const { note, said } = this.judge;
    try {
      await this.marks.say(this.suspect, mark, note.value.trim());
    } catch (error) {
      said.textContent = `Not kept: ${error.message}.`;
    }
  }

  // ---- the evidence ----

  /** Its pictures with the cue's box, and beside them the class's usual ones. */
  _pictures(detail) {
    this._paint = null;
    if (!this.header.pictures) return h("p", { class: "quiet" }, "This copy was made without the dataset's pictures.");
    const caption = new Caption(this.header, this.shards, this.actions.look, "Point at one for its id; click it to mark its places on the map.");
    const shown = this.more ? Infinity : SUSPECT_PICTURES;
    const inside = detail.images.slice(0, Math.min(shown, detail.boxes.length)).map((image, i) => this._thumb(image, detail.boxes[i], detail, caption));
    const outside = detail.usual.slice(0, shown).map((image) => this._thumb(image, null, detail, caption));
    this._paint = () => {
      for (const { paint } of [...inside, ...outside]) paint();
      caption.refresh();
    };
    const side = (title, thumbs, none) => h("div", {}, h("h4", {}, title), thumbs.length > 0 ? h("div", { class: "thumbs" }, thumbs.map(({ button }) => button)) : h("p", { class: "quiet" }, none));
    const label = this.suspect.label ?? "the class";
    const rest = Math.max(detail.boxes.length, detail.usual.length) > SUSPECT_PICTURES && !this.more;
    const more = () => {
      this.more = true;
      this._build();
    };
    const boxed = detail.whole ? ", the cue all over them" : detail.boxes.some((box) => box !== null) ? ", the cue framed" : "";
    return h(
      "section",
      {},
      h("h3", {}, `Its pictures${boxed}, and the usual ones`),
      caption.around(h("div", { class: "against" }, side(`${count(inside.length)} of its ${count(detail.images.length)}`, inside, "none"), side(`${label} without it`, outside, "None is outside of it."))),
      caption.element,
      rest ? h("button", { class: "quiet-button", click: more }, "Show more") : "",
    );
  }

  _thumb(image, box, detail, caption) {
    const size = this.header.thumbnailSize;
    const canvas = h("canvas", { width: size, height: size });
    const about = { image, layer: this.header.suspects.layer, box, aspect: detail.aspects[image] ?? 1 };
    const viewed = hasView(this.header, image) ? "thumb viewed" : "thumb";
    const button = h("button", { class: viewed, ...caption.events(about, this.actions.image) }, canvas);
    const paint = () => {
      if (canvas.dataset.drawn || !drawThumbnail(this.shards, image, canvas, size)) return;
      if (box !== null) drawBox(canvas, about);
      const shard = this.shards.get(`image/${Math.floor(image / IMAGES_PER_SHARD)}`);
      button.setAttribute("aria-label", shard?.ids[image % IMAGES_PER_SHARD] ?? `image ${image}`);
    };
    return { button, paint };
  }

  _icons({ inside, outside, cue }) {
    const label = this.suspect.label ?? "the class";
    const pictures = [[inside, "what the network sees in it"], [outside, `and in the usual ${label}`], [cue, "the cue's place, the mean of its pictures"]].filter(([uri]) => uri !== null);
    if (pictures.length === 0) return "";
    return h("section", {}, h("h3", {}, "Seen by the network"), h("div", { class: "seen" }, pictures.map(([uri, words]) => h("figure", {}, h("img", { src: uri, alt: words, draggable: "false" }), h("figcaption", {}, words)))));
  }

  _figures({ figures }) {
    const names = Object.keys(figures).filter((name) => !/_(low|high)$/.test(name) || !(name.replace(/_(low|high)$/, "") in figures));
    if (names.length === 0) return "";
    const words = (value) => (value === null ? "–" : Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(3))).replace("-", "−"));
    const rows = names.map((name) => {
      const [low, high] = [figures[`${name}_low`], figures[`${name}_high`]];
      const interval = low === undefined || high === undefined ? "" : ` (${words(low)} to ${words(high)})`;
      return h("tr", {}, h("th", { scope: "row" }, name.replaceAll("_", " ")), h("td", {}, `${words(figures[name])}${interval}`));
    });
    return h("details", {}, h("summary", {}, "Its figures, with 95 % intervals"), h("table", { class: "figures" }, rows));
  }
}
