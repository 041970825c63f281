"use strict";
// What the other scripts share: how numbers, names and times are said, and how elements are made.

const STEERING = /[\u202a-\u202e\u2066-\u2069]/g;
const NUMBER = new Intl.NumberFormat("en");
const DATES = Object.fromEntries(
  Object.entries({
    long: { weekday: "long", day: "numeric", month: "long", year: "numeric" },
    medium: { weekday: "short", day: "numeric", month: "short", year: "numeric" },
    short: { weekday: "short", day: "numeric", month: "short" },
  }).map(([kind, options]) => [kind, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" })]),
);

const say = {
  /** A number of photos. */
  count: (number) => `${NUMBER.format(number)} ${number === 1 ? "photo" : "photos"}`,

  /** A name for where no element can be: text around it keeps its direction. */
  isolated: (text) => `\u2068${text.replace(STEERING, "")}\u2069`,

  /** A day such as 2026-01-19; what is no date is said as it is. */
  day(day, kind = "long") {
    if (day === null) return "Without a time";
    const [, year, month, date] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(day) ?? [];
    if (!year) return day;
    const moment = new Date(0);
    moment.setUTCFullYear(year, month - 1, date); // Date.UTC takes years below 100 for others
    return DATES[kind].format(moment).replace(",", ""); // which versions of browsers set or not
  },

  /** An hour such as 06, with its end. */
  hour(hour) {
    if (hour === null) return "";
    return /^\d\d$/.test(hour) ? `${hour}:00–${String(Number(hour) + 1).padStart(2, "0")}:00` : hour;
  },

  /** When the photos of a slot were taken. */
  slot: (slot, kind) => [say.day(slot.day, kind), say.hour(slot.hour)].filter(Boolean).join(", "),
};

/** Make an element with these properties and children. */
function make(name, properties = {}, children = []) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}
