/* What the network makes of one image: a page of its own, made on request, or put into the site at export. */

/** An element that leads to an image's page; "" where there is none and no network to make it. */
function viewElement(header, network, image) {
  if ((header.views ?? []).includes(image)) return pageLink(`views/${image}.html`);
  return network === null ? "" : askedView(network, () => network.askFor(`view/${header.token}/${image}`));
}

/** The same for a picture of one's own. */
const ownViewElement = (header, network, file) => askedView(network, () => network.askFor(`view/${header.token}/own?name=${encodeURIComponent(file.name)}`, file));

const pageLink = (page) => h("a", { class: "quiet-button", href: page, target: "_blank", rel: "noopener" }, "Open its page ↗");

/** A button that asks for a page, and becomes the link to it. */
function askedView(network, askForPage) {
  if (kernel !== null) return ""; // a notebook's kernel serves no pages
  const element = h("div", { class: "fine" });
  const show = ({ page }) => element.replaceChildren(pageLink(page));
  const fail = (error) => element.replaceChildren(h("p", { class: "wrong" }, error.message), button);
  const ask = () => {
    element.replaceChildren(h("p", { class: "quiet" }, "Looking inside …"), network.progressElement());
    askForPage().then(show, fail);
  };
  const button = h("button", { class: "quiet-button", title: "Activation maps and grids, attributions, its places on the maps; in half a minute or so", click: ask }, "Look inside");
  element.append(button);
  return element;
}
