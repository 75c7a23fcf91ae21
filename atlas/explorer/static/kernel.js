/* Who answers the page: the server it came from, or in a notebook the kernel, through the frame around the page. */

class Kernel {
  constructor() {
    this.waiting = new Map(); // number of a question -> what to do with its answer
    this.own = `${Date.now()}-${Math.random()}`; // one output may be shown twice, and each answer reaches both
    this.asked = 0;
    this.told = null;
    window.addEventListener("message", (event) => {
      if (event.source !== window.parent || event.data?.own !== this.own) return;
      const { number, status, type, bytes } = event.data;
      this.waiting.get(number)?.(new Response(status === 204 ? null : bytes, { status, headers: { "Content-Type": type } }));
      this.waiting.delete(number);
    });
  }

  /** As fetch(): a promise of a Response. */
  async ask(path, { method = "GET", body = null, headers = {} } = {}) {
    const bytes = body === null || body === undefined ? null : await new Response(body).arrayBuffer();
    const number = this.asked++;
    const answered = new Promise((done) => this.waiting.set(number, done));
    this._say({ kind: "ask", number, method, path, type: headers["Content-Type"] ?? "" }, bytes);
    return answered;
  }

  /** Say what is selected: {layer, level} with a cell's column and row, or with rows, a Uint32Array; null: nothing. */
  tell(selection) {
    const told = selection && JSON.stringify({ ...selection, rows: selection.rows?.length });
    if (told === this.told && selection?.rows === this.rows) return;
    Object.assign(this, { told, rows: selection?.rows });
    const { rows, ...where } = selection ?? {};
    this._say({ kind: "selection", selection: selection && where }, rows ? Uint32Array.from(rows).buffer : null);
  }

  _say(words, bytes) {
    window.parent.postMessage({ ...words, own: this.own, bytes }, "*", bytes ? [bytes] : []);
  }
}

let kernel = null;

/** Ask the page's home, as fetch() does. */
const askHome = (path, options) => (kernel === null ? fetch(path, options) : kernel.ask(path, options));

/** In a notebook whose kernel answers: ask it from now on. */
function meetKernel({ home, asks }) {
  if (home === "notebook" && asks) kernel = new Kernel();
}

/** Tell the kernel what is selected; while samples are on their way it knows what was. */
function tellKernel({ state, selectedSamples, selectedPane }) {
  const { region, selected } = state;
  if (kernel === null || (region.length > 0 && selectedSamples === null)) return;
  const { layer } = selectedPane;
  if (region.length > 0) kernel.tell({ layer, level: selectedPane.level?.level ?? 0, rows: selectedSamples.row });
  else kernel.tell(selected && { layer, ...selected });
}
