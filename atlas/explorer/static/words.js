/* Numbers as words, and elements that hold text: names of classes and files are only ever text, never HTML. */

/** An element with attributes and children; a string child is text, a function attribute an event handler. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "style") for (const [property, text] of Object.entries(value)) element.style.setProperty(property, text);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Whether a text is now on the clipboard: pages without TLS have none, and some browsers refuse. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

// By hand: the browser's own formatting takes 40 ms to load, of a page's first second.
const count = (value) => String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const counted = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

function percent(share, digits = 0) {
  if (share === null || share === undefined) return "–";
  const text = (share * 100).toFixed(digits);
  return `${share > 0 && Number(text) === 0 ? "<1" : text}\u00a0%`;
}

const figure2 = (value) => (value === null ? "–" : value.toFixed(2));
const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toPrecision(2)}`;

/** How far the icon of a cell, as found by TileLayer.cellAt, can be believed, judged against its real patches:
 * {verdict, tone, reason}. */
function trust({ cell: { scores, cosine: real, bare }, column, row }) {
  if (scores === null) return { verdict: "No icon", tone: "none", reason: bare ? "No icon is alike enough, or none is rendered yet: its most typical real picture stands." : "too few images" };
  const { robust, strength } = scores;
  const compared = real === null || real <= 0 ? robust / 0.75 : robust / real;
  const weak = strength !== null && strength < 0.5;
  const against = real === null ? "" : `; its real patches reach ${figure2(real)}`;
  const seen = `After small shifts, turns and blurs the network still reads it as this cell with cosine ${figure2(robust)}${against}.`;
  const isBeside = scores.shows && Math.abs(scores.shows[0] - column) <= 1 && Math.abs(scores.shows[1] - row) <= 1;
  if (scores.believable === false && isBeside) {
    const why = "The network takes it for the cell beside: believe it for this neighbourhood, not for this cell alone.";
    return { verdict: "Believable in part", tone: "fair", reason: `${seen} ${why}` };
  }
  if (scores.believable === false) {
    const why = scores.shows === null ? "" : ` The network takes it for another cell, column ${scores.shows[0]}, row ${scores.shows[1]}.`;
    return { verdict: "Not to be believed", tone: "poor", reason: `${seen}${why} Look at the real pictures instead.` };
  }
  if (robust >= 0.5 && compared >= 0.8 && !weak) return { verdict: "Believable", tone: "good", reason: seen };
  if (robust >= 0.3 && compared >= 0.5) {
    return { verdict: weak ? "Faint" : "Believable in part", tone: "fair", reason: seen };
  }
  return { verdict: "Not to be believed", tone: "poor", reason: `${seen} Look at the real pictures instead.` };
}

function strengthWords(strength) {
  if (strength === null) return "";
  return `It excites the cell's direction ${strength.toFixed(1)} × as strongly as the cell's average sample.`;
}

/** A click handler for what takes a while: the button says so, and says what failed. */
const asking = (busy, act) => async ({ currentTarget: pressed }) => {
  const words = pressed.textContent;
  pressed.disabled = true;
  pressed.textContent = busy;
  try {
    await act();
    pressed.textContent = words;
  } catch (error) {
    pressed.textContent = `Failed: ${error.message}`;
  }
  pressed.disabled = false;
};
