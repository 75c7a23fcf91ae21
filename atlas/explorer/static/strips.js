/* A row of small pictures from one shard of its own: {images, ids, sheet}, up to nine of them, three by three. */

class PictureStrip {
  /** choose(image): one was clicked. */
  constructor(shards, key, size, choose) {
    Object.assign(this, { shards, key, size, choose });
    this.element = h("div", { class: "thumbs strip-of-nine" });
    this.sheet = null;
  }

  /** Ask for the pictures, and show them once they are there. */
  refresh() {
    if (this.element.childElementCount > 0) return;
    const shard = this.shards.get(this.key);
    if (!shard) return;
    this.sheet ??= decodePicture(shard.sheet, () => this.shards.changed(this.key));
    if (!this.sheet.image) return;
    this.element.replaceChildren(...shard.images.map((image, slot) => this._thumb(image, shard.ids[slot], slot)));
  }

  _thumb(image, id, slot) {
    const { size } = this;
    const canvas = h("canvas", { width: size, height: size, "data-drawn": "yes" });
    canvas.getContext("2d").drawImage(this.sheet.image, (slot % 3) * size, Math.floor(slot / 3) * size, size, size, 0, 0, size, size);
    return h("button", { class: "thumb", title: `${id}\nClick: where its samples lie`, "aria-label": id, click: () => this.choose(image) }, canvas);
  }
}
