/* Suspects, clusters of samples that may be a spurious cue: their list, and what the user says of them. */

const JUDGEMENTS = [
  ["cue", "Cue", "The network should not go by this (1)"],
  ["fine", "Fine", "This belongs to the class (2)"],
  ["unsure", "Unsure", "Not decided (3)"],
];
const KINDS = {
  within: "a cluster that stands apart from its class",
  shared: "several labels that the network takes for one class",
  errors: "more errors than chance explains",
  disagreeing: "its effect speaks against its labels",
  outlying: "a direction far from all others",
};
const USED_WORDS = { yes: "used: yes", no: "used: no", undecided: "used: undecided", untested: "used: untested" };
const SPURIOUS_WORDS = { likely: "spurious: likely", unlikely: "spurious: unlikely", unclear: "spurious: unclear" };
const TONES = { cue: "poor", likely: "poor", fine: "good", unlikely: "good", unsure: "fair", unclear: "fair" };

/** The classes of a suspect: "boat", or "boat → ship" where it pushes its images towards another class. */
function suspectTitle({ label, feeds }) {
  const names = [label, feeds].filter((name) => name !== null);
  return names.length === 0 ? "no class" : [...new Set(names)].join(" → ");
}

/** "poor", "fair" or "good": as the user says, else as the second verdict does. */
const suspectTone = ({ spurious }, said) => TONES[said?.mark ?? spurious];

/** What the user says of suspects, by their ids: beside the atlas where somebody keeps it, else in this browser. */
class SuspectMarks {
  constructor(header, changed) {
    Object.assign(this, { header, changed });
    this.said = {};
    this.local = `activation-atlas-suspects:${header.fingerprint}`;
    this.where = header.asks ? "Kept beside the atlas, in marks.json." : { site: "Kept in this browser alone: take it along as CSV.", notebook: "Kept until this page is closed." }[header.home];
  }

  async load() {
    if (this.header.asks) this._take(await this._ask("GET"));
    else if (this.header.home === "site") this._take(JSON.parse(remembered(this.local) ?? "{}"));
  }

  /** {mark, note} of a suspect; mark null where nothing is said. */
  of({ id }) {
    return this.said[id] ?? { mark: null, note: "" };
  }

  /** Say a mark, or null for none, and a note; a note alone is a mark of "unsure". */
  async say({ id }, mark, note) {
    const told = mark ?? (note === "" ? null : "unsure");
    if (this.header.asks) {
      const last = this.saying ?? Promise.resolve(); // one after the other: a server answers several at once
      this.saying = last.catch(() => {}).then(() => this._ask("POST", { id, mark: told, note }));
      this._take(await this.saying);
      return;
    }
    const { [id]: _, ...others } = this.said;
    const said = told === null ? others : { ...others, [id]: { mark: told, note } };
    if (this.header.home === "site") remember(this.local, JSON.stringify(said));
    this._take(said);
  }

  /** Take on what is kept: of a browser's storage, too, only what is a mark. */
  _take(said) {
    const known = ([, one]) => JUDGEMENTS.some(([mark]) => mark === one?.mark) && typeof one.note === "string";
    this.said = Object.fromEntries(Object.entries(said ?? {}).filter(known));
    this.changed();
  }

  async _ask(method, body) {
    const headers = body ? { "Content-Type": "application/json" } : {};
    const answer = await askHome(`marks/${this.header.token}/suspects`, { method, body: body && JSON.stringify(body), headers });
    const text = await answer.text();
    if (!answer.ok) throw new Error(text || `the server answered ${answer.status}`);
    return JSON.parse(text).suspects;
  }
}

/** The list beside the map, the most suspicious first. */
class SuspectList {
  /** actions: {open(index or null), csv(): hand out all members} */
  constructor(header, marks, actions) {
    Object.assign(this, { header, marks, actions });
    const { listed, notes, tested } = header.suspects;
    this.items = listed.map((suspect, index) => this._item(suspect, index));
    const quiet = (words) => h("p", { class: "quiet" }, words);
    const none = h("p", {}, "Nothing stands out by more than chance explains.");
    const csv = h("button", { class: "quiet-button", title: "id, suspect, mark and membership of every image in a suspect", click: asking("Writing …", () => actions.csv()) }, "Marks and members as CSV");
    this.element = h(
      "section",
      { class: "suspects" },
      h("h3", {}, "Suspects: may be spurious cues"),
      listed.length > 0 || notes.length > 0 ? "" : none,
      listed.length === 0 ? "" : h("ol", {}, this.items.map(({ row }) => row)),
      tested || notes.length > 0 ? "" : quiet("Not tested on the network: 'atlas suspects --pipeline' does that."),
      notes.map(quiet),
      listed.length === 0 ? "" : h("div", { class: "actions" }, csv),
    );
  }

  _item(suspect, index) {
    const badge = h("span", { class: "badge" }, String(index + 1));
    const mark = h("span", { class: "mark" });
    const words = [USED_WORDS[suspect.used], SPURIOUS_WORDS[suspect.spurious], counted(suspect.images, "image"), pWords(suspect.p)].filter(Boolean).join(" · ");
    const button = h(
      "button",
      { class: "suspect", "aria-pressed": "false", click: () => this.actions.open(index) },
      badge,
      h("span", { class: "words" }, h("span", { class: "name" }, suspectTitle(suspect)), mark, h("span", { class: "said", title: suspect.text }, suspect.text), h("span", { class: "quiet" }, words)),
    );
    return { suspect, badge, mark, button, row: h("li", {}, button) };
  }

  /** Bring the list to what is open and what is said. */
  show(open) {
    this.items.forEach(({ suspect, badge, mark, button }, index) => {
      const said = this.marks.of(suspect);
      badge.dataset.tone = suspectTone(suspect, said);
      mark.textContent = said.mark === null ? "" : JUDGEMENTS.find(([name]) => name === said.mark)[1];
      mark.title = said.note;
      button.setAttribute("aria-pressed", String(open === index));
    });
  }
}

/** A hover card's content for a suspect's number on the map. */
const suspectCard = (suspect, index) => [
  h("span", { class: "badge", "data-tone": suspectTone(suspect) }, String(index + 1)),
  h("div", {}, h("p", { class: "id" }, suspectTitle(suspect)), h("p", { class: "quiet" }, `${USED_WORDS[suspect.used]} · ${SPURIOUS_WORDS[suspect.spurious]} · ${counted(suspect.images, "image")}`)),
];

/** Members of suspects, by their indices, as CSV: what cleans a dataset. */
async function suspectsCsv({ header, shards, suspectMarks }, indices) {
  const lines = ["id,suspect,mark,membership"];
  for (const index of indices) {
    const suspect = header.suspects.listed[index];
    const detail = await shards.wait(`suspect/${index}`);
    if (detail === null) throw new Error("the suspects are not in this page");
    const mark = suspectMarks.of(suspect).mark ?? "";
    for (let i = 0; i < detail.images.length; i++) {
      const id = await imageId(shards, detail.images[i]);
      lines.push([csvField(id), suspect.id, mark, detail.membership[i] ?? ""].join(","));
    }
  }
  return `${lines.join("\r\n")}\r\n`;
}
