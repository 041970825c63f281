"use strict";
// One photo as large as the screen, with its neighbours a key or a swipe away.

const SWIPE = 50; // pixels that a finger moves to mean it
const SHOWABLE = /\.(?:jpe?g|png|webp|avif|gif)$/i;

class Viewer {
  #list = [];
  #place = -1;
  #ready = new Map(); // images of neighbours, kept so that they stay decoded

  /**
   * @param dialog with the elements of templates/index.html
   * @param moved is called with the photo that is seen now
   * @param closed is called with the photo that was seen last
   */
  constructor(dialog, photos, { moved, closed }) {
    Object.assign(this, { dialog, photos, moved, closed });
    const find = (id) => document.getElementById(id);
    this.stage = find("stage");
    this.image = find("shot");
    this.text = find("viewer-text");
    this.details = find("viewer-details");
    this.files = find("viewer-files");
    this.previous = find("previous");
    this.next = find("next");
    this.previous.addEventListener("click", () => this.#step(-1));
    this.next.addEventListener("click", () => this.#step(1));
    find("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.closed(this.#list[this.#place]));
    dialog.addEventListener("keydown", (event) => this.#key(event));
    this.#swipe();
  }

  get photo() {
    return this.dialog.open ? this.#list[this.#place] : null;
  }

  /** Show the photo at a place of a list. */
  show(list, place) {
    if (this.dialog.open && this.#list === list && this.#place === place) return;
    this.#list = list;
    this.#place = place;
    this.#fill();
    if (!this.dialog.open) {
      this.dialog.showModal();
      (this.next.disabled ? document.getElementById("close") : this.next).focus();
    }
  }

  close() {
    if (this.dialog.open) this.dialog.close();
  }

  #step(by) {
    this.#to(this.#place + by);
  }

  #to(place) {
    if (place < 0 || place >= this.#list.length || place === this.#place) return;
    this.#place = place;
    this.#fill();
    this.moved(this.#list[place]);
  }

  /** The file to look at: the large one, an original that browsers can show, or the thumbnail. */
  #source(photo) {
    const original = this.photos.path(photo, "original");
    return this.photos.path(photo, "large") ?? (original && SHOWABLE.test(original) ? original : this.photos.path(photo, "thumbnail"));
  }

  #fill() {
    const [photo, photos] = [this.#list[this.#place], this.photos];
    const by = photos.photographer(photo);
    const pixels = photos.pixels(photo);
    this.text.textContent = photos.name(photo);
    this.details.replaceChildren(
      ...[
        say.slot(photos.slotOf(photo)),
        by === null ? null : `by ${say.isolated(by)}`,
        pixels ? `${pixels.width} × ${pixels.height}` : null,
        photos.id(photo) === null ? null : say.isolated(photos.id(photo)),
        `${NUMBER.format(this.#place + 1)} of ${NUMBER.format(this.#list.length)}`,
      ].filter((text) => text !== null).map((text) => make("span", { textContent: text })),
    );
    this.files.replaceChildren(
      ...["large", "original"].filter((variant) => photos.path(photo, variant) !== null).map((variant) =>
        make("a", { href: photos.path(photo, variant), target: "_blank", rel: "noopener", textContent: `Open ${variant}` })),
    );
    this.#picture(photo);
    for (const [button, place] of [[this.previous, this.#place - 1], [this.next, this.#place + 1]]) {
      const gone = !(place in this.#list);
      if (gone && button === document.activeElement) document.getElementById("close").focus();
      button.disabled = gone;
    }
    this.#prepare();
  }

  /** The thumbnail at once, the large one when it is decoded. */
  #picture(photo) {
    const [thumbnail, source] = [this.photos.path(photo, "thumbnail"), this.#source(photo)];
    const large = this.#image(source);
    this.image.alt = say.isolated(this.photos.name(photo));
    this.image.classList.toggle("small", source === thumbnail);
    if (source === null) this.image.removeAttribute("src");
    else if ((large.complete && large.naturalWidth) || thumbnail === null) this.image.src = source;
    else {
      this.image.src = thumbnail;
      large.decode().then(
        () => {
          if (this.#list[this.#place] === photo) this.image.src = source;
        },
        () => this.image.classList.add("small"), // a file that is gone: the thumbnail stays
      );
    }
  }

  #image(source) {
    if (source === null) return null;
    if (!this.#ready.has(source)) this.#ready.set(source, make("img", { src: source }));
    return this.#ready.get(source);
  }

  #prepare() {
    const near = [0, 1, -1, 2].map((by) => this.#list[this.#place + by]).filter((photo) => photo !== undefined);
    const sources = new Set(near.map((photo) => this.#source(photo)));
    for (const source of this.#ready.keys()) if (!sources.has(source)) this.#ready.delete(source);
    for (const source of sources) this.#image(source);
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const last = this.#list.length - 1;
    const target = {
      ArrowLeft: this.#place - 1, ArrowRight: this.#place + 1, PageUp: this.#place - 1, PageDown: this.#place + 1, Home: 0, End: last,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.#to(target);
  }

  /** The picture follows a finger sideways, and changes if it went far enough; a page that is zoomed is moved instead. */
  #swipe() {
    let start = null;
    const zoomed = () => visualViewport.scale > 1.01;
    visualViewport.addEventListener("resize", () => this.stage.classList.toggle("zoomed", zoomed()));
    const move = (distance) => (this.image.style.transform = distance ? `translateX(${distance}px)` : "");
    this.stage.addEventListener("pointerdown", (event) => {
      const one = event.pointerType !== "mouse" && event.isPrimary && !zoomed();
      start = one ? { id: event.pointerId, x: event.clientX } : null;
      move(0);
    });
    this.stage.addEventListener("pointermove", (event) => {
      if (start?.id === event.pointerId) move(event.clientX - start.x);
    });
    this.stage.addEventListener("pointerup", (event) => {
      if (start?.id !== event.pointerId) return;
      const distance = event.clientX - start.x;
      start = null;
      move(0);
      if (Math.abs(distance) >= SWIPE) this.#step(distance < 0 ? 1 : -1);
    });
    this.stage.addEventListener("pointercancel", () => {
      start = null;
      move(0);
    });
  }
}
