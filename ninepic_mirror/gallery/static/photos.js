"use strict";
// The photos that data.js defines as columns (see gallery/columns.py), sorted into slots.

/** A slot is an hour of a day and its photos, a photo is its place in the columns. */
class Photos {
  constructor(columns) {
    this.columns = columns;
    this.size = columns.name.length;
    this.photographers = columns.photographers;
    this.slots = this.#sorted();
  }

  #sorted() {
    const { days, hours, day, hour } = this.columns;
    const slots = new Map();
    for (let photo = 0; photo < this.size; photo += 1) {
      const key = `${day[photo]} ${hour[photo]}`;
      if (!slots.has(key)) slots.set(key, { day: days[day[photo]] ?? null, hour: hours[hour[photo]] ?? null, photos: [] });
      slots.get(key).photos.push(photo);
    }
    const order = ({ day, hour }) => (day === null ? "1" : `0${day} ${hour ?? ""}`);
    return [...slots.values()].sort((one, other) => (order(one) < order(other) ? -1 : 1));
  }

  /** The slots that a filter lets through, with those of their photos that it lets through; none is empty. */
  sections(filter) {
    return this.slots
      .filter((slot) => filter.day === undefined || slot.day === filter.day)
      .filter((slot) => filter.hour === undefined || slot.hour === filter.hour)
      .map((slot) => ({ day: slot.day, hour: slot.hour, photos: this.#by(slot.photos, filter.by) }))
      .filter((section) => section.photos.length);
  }

  /** How many photos of a slot are a photographer's. */
  count(slot, by) {
    return this.#by(slot.photos, by).length;
  }

  #by(photos, by) {
    if (by === undefined) return photos;
    const wanted = this.photographers.indexOf(by); // -1 stands for an unknown one in the column, too
    return photos.filter((photo) => this.columns.photographer[photo] === wanted);
  }

  name(photo) {
    return this.columns.name[photo];
  }

  /** The service's id, where the name does not tell it. */
  id(photo) {
    return this.columns.id[photo] || null;
  }

  photographer(photo) {
    return this.photographers[this.columns.photographer[photo]] ?? null;
  }

  slotOf(photo) {
    const { days, hours, day, hour } = this.columns;
    return { day: days[day[photo]] ?? null, hour: hours[hour[photo]] ?? null };
  }

  /** Its size in pixels, null where unknown. */
  pixels(photo) {
    const [width, height] = [this.columns.width[photo], this.columns.height[photo]];
    return width > 0 && height > 0 ? { width, height } : null;
  }

  /** Width by height, within what a row can show; 3:2 where unknown. */
  ratio(photo) {
    const pixels = this.pixels(photo);
    return pixels ? Math.min(3, Math.max(0.5, pixels.width / pixels.height)) : 1.5;
  }

  /** Where a variant's file is, null where there is none. */
  path(photo, variant) {
    const { folder, file } = this.columns[variant];
    if (folder[photo] < 0) return null;
    return this.columns.folders[folder[photo]] + (file[photo] || encodeURIComponent(this.name(photo)));
  }
}
