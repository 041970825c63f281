"use strict";
// The photos in justified rows. Only the rows near the screen exist as elements, and the one that holds the focus.

const GAP = 6; // pixels between photos
const HEADING = 56;
const TALL = { phone: 130, desk: 210 }; // pixels: what rows may be high at most
const NARROW = 600; // pixels
const AHEAD = 640; // pixels above and below the screen that are kept ready

class Grid {
  #sections = [];
  #list = []; // photos in the order shown; a place is an index into it
  #places;
  #rows = []; // {top, height, from, to, section}: a heading has no photos and its section
  #drawn = new Map();
  #active = 0; // the place that Tab reaches
  #width = 0;
  #said = null;

  /**
   * @param element the empty grid
   * @param above what stays on the screen above it
   * @param open is called with the photo that is to be seen large
   * @param moved is called with day and hour of what is at the top of the screen, in words
   */
  constructor(element, above, photos, { open, moved }) {
    Object.assign(this, { element, above, photos, open, moved });
    let asked = false;
    const soon = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        this.#draw();
      });
    };
    addEventListener("scroll", soon, { passive: true });
    addEventListener("resize", soon);
    new ResizeObserver(() => this.#resize()).observe(element);
    element.addEventListener("click", (event) => this.#click(event));
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("focusin", (event) => this.#activate(Number(event.target.dataset.place)));
    element.addEventListener("error", (event) => this.#lost(event.target), true);
    element.addEventListener("load", (event) => this.#fit(event.target), true);
  }

  get list() {
    return this.#list;
  }

  /** Show these sections instead; the page does not scroll. */
  show(sections) {
    this.#sections = sections;
    this.#list = sections.flatMap((section) => section.photos);
    this.#places = new Int32Array(this.photos.size).fill(-1);
    this.#list.forEach((photo, place) => (this.#places[photo] = place));
    this.#active = 0;
    this.#width = this.element.clientWidth;
    this.#layout();
  }

  /** The place of a photo in what is shown, -1 if it is not. */
  place(photo) {
    return this.#places[photo] ?? -1;
  }

  /** The photo at the top of the screen, and how far above the edge it begins. */
  anchor() {
    const row = this.#rows[this.#rowAt(this.#edge())];
    return row ? { photo: this.#list[row.from], offset: Math.round(this.#edge() - row.top), heading: row.from === row.to } : null;
  }

  /** Scroll to where `anchor` was taken, whatever the page's width was then. */
  restore({ photo, offset, heading }) {
    const place = this.place(photo);
    if (place < 0) return;
    const row = this.#rowOf(place) - (heading ? 1 : 0);
    scrollTo({ top: this.#top() + this.#rows[Math.max(0, row)].top + offset - this.above.offsetHeight, behavior: "instant" });
    this.#draw();
  }

  /** Scroll to the first photo if the page is below it. */
  rewind() {
    const top = this.#top() - this.above.offsetHeight;
    if (scrollY > top) scrollTo({ top, behavior: "instant" });
    this.#draw();
  }

  /** Bring a photo onto the screen and give it the focus. */
  focus(photo) {
    const place = this.place(photo);
    if (place >= 0) this.#go(place);
  }

  #top() {
    return this.element.getBoundingClientRect().top + scrollY;
  }

  #edge() {
    return scrollY + this.above.offsetHeight - this.#top();
  }

  #resize() {
    if (this.element.clientWidth === this.#width || !this.#list.length) return;
    const anchor = scrollY > this.#top() ? this.anchor() : null;
    this.#width = this.element.clientWidth;
    this.#layout();
    if (anchor) this.restore(anchor);
  }

  #layout() {
    const focused = this.element.contains(document.activeElement);
    const most = this.#width < NARROW ? TALL.phone : TALL.desk;
    this.#rows = [];
    let [top, place] = [0, 0];
    const add = (height, to, section) => {
      this.#rows.push({ top, height, from: place, to, section });
      top += height + GAP;
      place = to;
    };
    for (const section of this.#sections) {
      add(HEADING, place, section);
      const end = place + section.photos.length;
      let sum = 0;
      for (let next = place; next < end; next += 1) {
        sum += this.photos.ratio(this.#list[next]);
        const height = (this.#width - GAP * (next - place)) / sum;
        if (height <= most) [, sum] = [add(height, next + 1), 0];
      }
      if (place < end) add(most, end);
    }
    for (const row of this.#drawn.values()) row.remove();
    this.#drawn.clear();
    this.element.style.height = `${top}px`;
    this.element.ariaRowCount = this.#rows.length;
    this.#draw();
    if (focused) this.#tile(this.#active)?.focus({ preventScroll: true });
  }

  /** The last row that begins at or above a height. */
  #rowAt(height) {
    return this.#last((row) => row.top <= height);
  }

  #rowOf(place) {
    return this.#last((row) => row.from <= place);
  }

  #last(holds) {
    let [low, high] = [0, this.#rows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (holds(this.#rows[middle])) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #draw() {
    if (!this.#rows.length) return;
    const top = scrollY - this.#top();
    const first = this.#rowAt(top - AHEAD);
    const last = this.#rowAt(top + innerHeight + AHEAD);
    const edge = this.#rowAt(this.#edge());
    // while nothing here has the focus, Tab leads to what is on the screen
    if (!this.element.contains(document.activeElement)) this.#activate(this.#rows[edge].from);
    const wanted = new Set([this.#rowOf(this.#active)]);
    for (let row = first; row <= last; row += 1) wanted.add(row);
    for (const [row, element] of this.#drawn) {
      if (wanted.has(row)) continue;
      element.remove();
      this.#drawn.delete(row);
    }
    let after = null; // rows stand in their order, as a screen reader reads them
    for (const row of [...wanted].sort((one, other) => other - one)) {
      let element = this.#drawn.get(row);
      if (!element) {
        element = this.#made(row);
        this.#drawn.set(row, element);
        this.element.insertBefore(element, after);
      }
      after = element;
    }
    this.#tell(this.#edge() > 0 ? this.#list[this.#rows[edge].from] : null);
  }

  #tell(photo) {
    const said = photo === null ? "" : say.slot(this.photos.slotOf(photo), "short");
    if (said !== this.#said) this.moved(said);
    this.#said = said;
  }

  #made(index) {
    const row = this.#rows[index];
    const element = make("div", { role: "row", className: row.section ? "heading" : "row", ariaRowIndex: index + 1 });
    element.style.top = `${row.top}px`;
    element.style.height = `${row.height}px`;
    if (row.section) {
      element.append(
        make("div", { role: "rowheader" }, [
          make("h2", {}, [
            make("bdi", { textContent: say.day(row.section.day, this.#width < NARROW ? "medium" : "long") }),
            make("span", { textContent: say.hour(row.section.hour) }),
          ]),
          make("span", { className: "quiet", textContent: say.count(row.section.photos.length) }),
        ]),
      );
    }
    for (let place = row.from; place < row.to; place += 1) element.append(this.#cell(place, row));
    return element;
  }

  #cell(place, row) {
    const photo = this.#list[place];
    const [name, by] = [this.photos.name(photo), this.photos.photographer(photo)];
    const thumbnail = this.photos.path(photo, "thumbnail");
    const described = say.isolated(name) + (by === null ? "" : `, by ${say.isolated(by)}`);
    const link = make("a", {
      href: this.photos.path(photo, "large") ?? this.photos.path(photo, "original") ?? thumbnail ?? "#all",
      tabIndex: place === this.#active ? 0 : -1,
    });
    link.dataset.place = place;
    link.dataset.name = name; // the style shows it where one points at it
    link.append(
      thumbnail === null
        ? make("span", { role: "img", className: "none", ariaLabel: described, textContent: "No preview" })
        : make("img", { src: thumbnail, alt: described, dir: "auto", decoding: "async", loading: "lazy", draggable: false }),
    );
    const cell = make("div", { role: "gridcell", ariaColIndex: place - row.from + 1 }, [link]);
    cell.style.width = `${this.photos.ratio(photo) * row.height}px`;
    return cell;
  }

  #tile(place) {
    return this.element.querySelector(`[data-place="${place}"]`);
  }

  #activate(place) {
    if (Number.isNaN(place) || place === this.#active) return;
    const [old, next] = [this.#tile(this.#active), this.#tile(place)];
    if (old) old.tabIndex = -1;
    if (next) next.tabIndex = 0;
    this.#active = place;
  }

  #go(place) {
    const index = this.#rowOf(place);
    const row = this.#rows[index];
    const first = this.#rows[index - 1]?.section ? this.#rows[index - 1] : row; // with its heading
    const top = this.#top() + first.top - this.above.offsetHeight - GAP;
    const bottom = this.#top() + row.top + row.height + GAP - innerHeight;
    if (scrollY > top) scrollTo({ top, behavior: "instant" });
    else if (scrollY < bottom) scrollTo({ top: bottom, behavior: "instant" });
    this.#draw();
    this.#activate(place);
    this.#tile(place).focus({ preventScroll: true });
  }

  #click(event) {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return; // as links do: another tab or window
    event.preventDefault();
    this.open(this.#list[Number(link.dataset.place)]);
  }

  #key(event) {
    if (event.altKey || event.metaKey || !event.target.dataset.place) return;
    if (event.key === " ") {
      event.preventDefault();
      event.target.click();
      return;
    }
    const place = this.#target(event.key, event.ctrlKey);
    if (place === null) return;
    event.preventDefault();
    this.#go(place);
  }

  /** Where a key leads, null if it leads nowhere (ARIA practices, grid pattern). */
  #target(key, control) {
    const [here, last] = [this.#active, this.#list.length - 1];
    const row = this.#rows[this.#rowOf(here)];
    const screen = 0.8 * innerHeight;
    switch (key) {
      case "ArrowLeft": return Math.max(0, here - 1);
      case "ArrowRight": return Math.min(last, here + 1);
      case "ArrowUp": return this.#beside(here, row.top - 1, -1);
      case "ArrowDown": return this.#beside(here, row.top + row.height + GAP, 1);
      case "PageUp": return this.#beside(here, row.top - screen, -1);
      case "PageDown": return this.#beside(here, row.top + screen, 1);
      case "Home": return control ? 0 : row.from;
      case "End": return control ? last : row.to - 1;
      default: return null;
    }
  }

  /** The photo that is most nearly above or below one, in the row at a height or, if that is a heading, in the next. */
  #beside(place, height, step) {
    let index = this.#rowAt(height);
    if (this.#rows[index].section) index += step;
    if (index < 1 || index >= this.#rows.length) index = index < 1 ? 1 : this.#rows.length - 1;
    const middle = this.#middles(this.#rows[this.#rowOf(place)]).get(place);
    let [best, distance] = [place, Infinity];
    for (const [other, at] of this.#middles(this.#rows[index])) {
      if (Math.abs(at - middle) < distance) [best, distance] = [other, Math.abs(at - middle)];
    }
    return best;
  }

  #middles(row) {
    const found = new Map();
    let left = 0;
    for (let place = row.from; place < row.to; place += 1) {
      const width = this.photos.ratio(this.#list[place]) * row.height;
      found.set(place, left + width / 2);
      left += width + GAP;
    }
    return found;
  }

  #lost(image) {
    image.closest("a")?.classList.add("lost");
  }

  /** A picture whose proportions are not those that were told is shown whole. */
  #fit(image) {
    const told = image.clientWidth / image.clientHeight;
    const found = image.naturalWidth / image.naturalHeight;
    image.classList.toggle("whole", Math.abs(told / found - 1) > 0.08);
  }
}
