/* Beneath small pictures: the one that is pointed at, larger, with its id, its label and what leads further. */

const CAPTION_GROWS_PX = 50; // when its words come

class Caption {
  /** look(image): an element that leads to the image's own page, or "". */
  constructor(header, shards, look, words) {
    Object.assign(this, { header, shards, look });
    this.element = h("div", { class: "caption" }, words ? h("p", { class: "quiet" }, words) : "");
    this.pinned = null;
  }

  /** What a small picture's button does. about: {image, layer: whose network answers (null: all), and if known box and
   * aspect to frame it, id, more: further elements}; choose(image): it was clicked. */
  events(about, choose) {
    const show = ({ currentTarget }) => this._show(about, currentTarget);
    const click = (event) => {
      this.pinned = [about, event.currentTarget];
      show(event);
      choose(about.image);
    };
    return { pointerenter: show, focus: show, click };
  }

  /** Listen on the element around the buttons: when it is left, what was clicked is shown again. Otherwise nobody could
   * go from a picture down to its caption: the way leads over others. */
  around(pictures) {
    const left = () => this.pinned !== null && this._show(...this.pinned);
    pictures.addEventListener("pointerleave", left);
    pictures.addEventListener("focusout", (event) => {
      if (!pictures.contains(event.relatedTarget)) left();
    });
    return pictures;
  }

  _show(about, button) {
    this.button = button;
    if (this.about !== about) this._build(about);
    this._stand();
  }

  /** At the panel's lower edge where its own place is below it, unless it would cover the picture that it is about. */
  _stand() {
    const panel = this.element.closest(".panel");
    if (panel === null) return;
    this.element.classList.remove("standing");
    const edge = panel.getBoundingClientRect().bottom - this.element.offsetHeight - (this.said ? 0 : CAPTION_GROWS_PX);
    this.element.classList.toggle("standing", this.button.getBoundingClientRect().bottom <= edge);
  }

  _build(about) {
    this.about = about;
    const size = 2 * this.header.thumbnailSize;
    this.canvas = h("canvas", { width: size, height: size, class: "whole" });
    this.words = h("div", {});
    this.said = false;
    this.element.replaceChildren(this.canvas, this.words);
    this.refresh();
  }

  /** A shard has come, or a sheet is decoded: show what waited for it. */
  refresh() {
    const { about, canvas, header, shards } = this;
    if (!about) return;
    const shard = shards.get(`image/${Math.floor(about.image / IMAGES_PER_SHARD)}`);
    if (!canvas.dataset.drawn && drawThumbnail(shards, about.image, canvas, header.thumbnailSize) && about.box) drawBox(canvas, about);
    if (this.said || !(shard || shard === null)) return;
    this.said = true;
    const place = about.image % IMAGES_PER_SHARD;
    const words = shard === null ? [] : [h("p", { class: "id" }, shard.ids[place]), ...answerWords(shard, place, shard.answers ? about.layer : null, header)];
    this.words.replaceChildren(...words, ...(about.more ?? []), this.look(about.image));
    this._stand();
  }
}

const GALLERY_STEP = 40; // pictures shown at first, and four times as many more at each click

/** A grid of images, each clicked for its places on the map, and beneath it the one that is pointed at. */
class Gallery {
  /** actions: {image(index), look(image): see Caption} */
  constructor(header, shards, actions) {
    Object.assign(this, { header, shards, actions });
    this.element = h("div", { class: "gallery" });
    this.caption = new Caption(header, shards, actions.look, "Point at one for its id; click it to mark its places on the map.");
  }

  /** Show some images; layer: whose network's answers are told, null: those of all. */
  show(images, layer) {
    Object.assign(this, { images, layer, shown: GALLERY_STEP });
    this._build();
  }

  _build() {
    const { header, images, layer, caption } = this;
    if (!header.pictures) {
      this.element.replaceChildren(h("p", { class: "quiet" }, "This copy was made without the dataset's pictures."));
      this.thumbs = [];
      return;
    }
    this.thumbs = images.slice(0, this.shown).map((image) => this._thumb(image, layer));
    const rest = images.length - this.thumbs.length;
    const more = () => {
      this.shown += 4 * GALLERY_STEP;
      this._build();
    };
    this.element.replaceChildren(
      caption.around(h("div", { class: "thumbs" }, this.thumbs.map(({ button }) => button))),
      rest > 0 ? h("button", { class: "quiet-button", click: more }, `${count(rest)} more: show ${count(Math.min(rest, 4 * GALLERY_STEP))}`) : "",
      caption.element,
    );
    this.refresh();
  }

  _thumb(image, layer) {
    const { header, actions, caption } = this;
    const canvas = h("canvas", { width: header.thumbnailSize, height: header.thumbnailSize });
    const viewed = hasView(header, image) ? "thumb viewed" : "thumb";
    return { image, canvas, button: h("button", { class: viewed, ...caption.events({ image, layer }, actions.image) }, canvas) };
  }

  /** A shard has come: paint what waited for it. */
  refresh() {
    const { header, shards, layer } = this;
    for (const { image, canvas, button } of this.thumbs ?? []) {
      if (canvas.dataset.drawn) continue;
      const shard = shards.get(`image/${Math.floor(image / IMAGES_PER_SHARD)}`);
      if (!shard) continue;
      const at = image % IMAGES_PER_SHARD;
      button.title = `${shard.ids[at]}\n${labelWords(answersOf(shard, at, layer ?? 0), header)}\nClick: where its samples lie`;
      button.setAttribute("aria-label", shard.ids[at]);
      drawThumbnail(shards, image, canvas, header.thumbnailSize);
    }
    this.caption.refresh();
  }
}
