/* The notebook's side of the explorer: a frame for its page, and the page's questions passed on to the kernel.
 *
 * A module of its own, loaded by anywidget. The frame may run scripts and hand out files, and has no other right: it
 * reaches the notebook by messages alone. */

const PATIENCE_MS = 8000;

function render({ model, el }) {
  const frame = document.createElement("iframe");
  const own = `${Date.now()}-${Math.random()}`; // this view's name: answers reach every view of the output
  frame.title = model.get("name");
  frame.sandbox = "allow-scripts allow-downloads";
  frame.allow = "clipboard-write";
  frame.style.cssText = `width:100%;height:${model.get("height")}px;border:1px solid #8884;border-radius:10px`;
  const note = document.createElement("p");
  note.setAttribute("role", "status");
  const impatient = setTimeout(() => {
    note.textContent = "The kernel has not answered yet: it is busy with another cell, or has ended, and this cell is to be run again.";
  }, PATIENCE_MS);
  el.append(note, frame);

  const fromFrame = ({ source, data }) => {
    if (source !== frame.contentWindow || typeof data?.own !== "string") return;
    const { bytes, ...words } = data;
    model.send(words, undefined, bytes ? [bytes] : []);
  };
  const fromKernel = (words, buffers) => {
    const view = buffers?.[0];
    const bytes = view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice().buffer : new ArrayBuffer(0);
    if (words.kind === "page" && words.own === own) {
      clearTimeout(impatient);
      note.remove();
      frame.srcdoc = new TextDecoder().decode(bytes);
    } else if (words.kind === "answer") frame.contentWindow?.postMessage({ ...words, bytes }, "*");
  };
  window.addEventListener("message", fromFrame);
  model.on("msg:custom", fromKernel);
  model.send({ kind: "page", own });
  return () => {
    clearTimeout(impatient);
    window.removeEventListener("message", fromFrame);
    model.off("msg:custom", fromKernel);
  };
}

export default { render };
