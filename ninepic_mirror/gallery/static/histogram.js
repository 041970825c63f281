"use strict";
// Days and hours as bars that choose what is shown.

const MANY = 120; // bars and gaps: with more, only the chosen day shows its hours

class Histogram {
  #bars = [];
  #shape = null;
  #kind; // how days are said: with the year where there are several

  /** @param choose is called with {day, hour}, each undefined for all */
  constructor(element, photos, choose) {
    Object.assign(this, { element, photos, choose });
    this.days = this.#days();
    const years = new Set(this.days.filter(({ day }) => day !== null).map(({ day }) => day.slice(0, 4)));
    this.folded = this.days.reduce((sum, { slots }) => sum + this.#hours(slots).length, 0) > MANY;
    this.#kind = years.size > 1 ? "medium" : "short";
    element.addEventListener("click", (event) => this.#click(event.target.closest("button")));
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("focusin", (event) => this.#reach(event.target));
  }

  /** Days in order, each with its slots; a day that is null holds the undated. */
  #days() {
    const days = new Map();
    for (const slot of this.photos.slots) {
      if (!days.has(slot.day)) days.set(slot.day, []);
      days.get(slot.day).push(slot);
    }
    return [...days].map(([day, slots]) => ({ day, slots }));
  }

  /** Show the counts of a photographer, and what is chosen. */
  show(filter) {
    const shape = this.folded ? String(filter.day) : "";
    if (shape !== this.#shape) this.#build(filter.day);
    this.#shape = shape;
    const counts = this.#bars.map((bar) => bar.slots.reduce((sum, slot) => sum + this.photos.count(slot, filter.by), 0));
    const most = Math.max(1, ...counts.filter((_, index) => this.#bars[index].fill));
    this.#bars.forEach((bar, index) => {
      const count = counts[index];
      const chosen = filter.day === bar.day && (filter.hour === bar.hour || (bar.fill && bar.hour === undefined));
      bar.button.ariaPressed = String(filter.day !== undefined && chosen);
      bar.button.ariaLabel = `${bar.label}: ${say.count(count)}`;
      bar.button.title = bar.button.ariaLabel;
      bar.button.classList.toggle("within", filter.day !== undefined && filter.day === bar.day && filter.hour === undefined);
      if (bar.fill) bar.fill.style.height = count ? `max(3px, ${(100 * count) / most}%)` : "0";
      if (bar.number) bar.number.textContent = NUMBER.format(count);
    });
    const chosen = this.#bars.find((bar) => bar.button.ariaPressed === "true");
    if (!this.element.contains(document.activeElement)) this.#reach((chosen ?? this.#bars[0])?.button);
    if (chosen) this.#uncover(chosen.button);
  }

  /** Give the focus to the button that Tab reaches. */
  focus() {
    this.#bars.find((bar) => bar.button.tabIndex === 0)?.button.focus();
  }

  /** Scroll the strip, and nothing else, until a button is seen whole. */
  #uncover(button) {
    const [strip, box] = [this.element.getBoundingClientRect(), button.getBoundingClientRect()];
    if (box.left < strip.left) this.element.scrollLeft += box.left - strip.left;
    else if (box.right > strip.right) this.element.scrollLeft += box.right - strip.right;
  }

  #build(open) {
    const place = this.#bars.findIndex((bar) => bar.button === document.activeElement);
    const held = place >= 0 ? this.#bars[place].day : undefined;
    this.#bars = [];
    this.element.replaceChildren(
      ...this.days.map(({ day, slots }) => (this.folded && day !== open ? this.#folded(day, slots) : this.#unfolded(day, slots))),
    );
    if (place >= 0) this.#bars.find((bar) => bar.day === held)?.button.focus();
  }

  #unfolded(day, slots) {
    const number = make("span", { className: "quiet" });
    const head = make("button", { type: "button", className: "day-name" }, [
      make("bdi", { textContent: say.day(day, this.#kind) }), number,
    ]);
    this.#bars.push({ button: head, day, slots, number, label: say.day(day) });
    const bars = make("div", { className: "bars" });
    for (const { hour, slot } of this.#hours(slots)) {
      if (!slot) bars.append(make("span", { className: "empty", textContent: hour, ariaHidden: "true" }));
      else if (day !== null) bars.append(this.#bar(day, slot.hour ?? undefined, [slot], slot.hour ?? "", say.slot(slot)));
    }
    if (day === null) bars.append(this.#bar(null, undefined, slots, "", say.day(null)));
    return make("div", { className: "day", role: "group", ariaLabel: say.day(day) }, [head, bars]);
  }

  #folded(day, slots) {
    const bar = this.#bar(day, undefined, slots, say.day(day, this.#kind), say.day(day));
    bar.classList.add("folded");
    return bar;
  }

  #bar(day, hour, slots, text, label) {
    const fill = make("i");
    const button = make("button", { type: "button", className: "bar" }, [
      make("span", { className: "track" }, [fill]), make("span", { className: "hour", textContent: text, dir: "auto" }),
    ]);
    this.#bars.push({ button, day, hour, slots, fill, label });
    return button;
  }

  /** The slots of a day, and the hours between them that have no photos. */
  #hours(slots) {
    const found = [];
    let next = null;
    for (const slot of slots) {
      const hour = /^\d\d$/.test(slot.hour ?? "") ? Number(slot.hour) : null;
      for (; next !== null && hour !== null && next < hour; next += 1) found.push({ hour: String(next).padStart(2, "0") });
      found.push({ hour: slot.hour, slot });
      next = hour === null ? null : hour + 1;
    }
    return found;
  }

  #click(button) {
    const bar = this.#bars.find((one) => one.button === button);
    if (!bar) return;
    const again = button.ariaPressed === "true";
    // an hour that is let go leaves its day
    if (again) this.choose(bar.hour === undefined ? {} : { day: bar.day });
    else this.choose({ day: bar.day, hour: bar.hour });
  }

  #key(event) {
    const here = this.#bars.findIndex((bar) => bar.button === event.target);
    const last = this.#bars.length - 1;
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: last }[event.key];
    if (here < 0 || next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#bars[Math.min(last, Math.max(0, next))].button.focus();
  }

  /** Make a button the one that Tab reaches. */
  #reach(button) {
    for (const bar of this.#bars) bar.button.tabIndex = bar.button === button ? 0 : -1;
  }
}
