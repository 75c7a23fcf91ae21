/* What the network makes of one image: a page of its own, made on request, or put into the site at export. */

/** An element that leads to an image's page; "" where there is none and no network to make it. */
function viewElement(header, network, image) {
  const open = (page) => h("a", { class: "quiet-button", href: page, target: "_blank", rel: "noopener" }, "Open its page ↗");
  if ((header.views ?? []).includes(image)) return open(`views/${image}.html`);
  if (network === null || kernel !== null) return ""; // a notebook's kernel serves no pages
  const element = h("div", { class: "fine" });
  const show = ({ page }) => element.replaceChildren(open(page));
  const fail = (error) => element.replaceChildren(h("p", { class: "wrong" }, error.message), button);
  const ask = () => {
    element.replaceChildren(h("p", { class: "quiet" }, "Looking inside …"), network.progressElement());
    network.askFor(`view/${header.token}/${image}`).then(show, fail);
  };
  const button = h("button", { class: "quiet-button", title: "Activation maps and grids, attributions, its places on the maps; in half a minute or so", click: ask }, "Look inside");
  element.append(button);
  return element;
}
