"use strict";
// What is shown is what the address says after #: day, hour, by (photographer), photo. So Back and Forward work, and a reload.

{
  const find = (id) => document.getElementById(id);
  const photos = new Photos(GALLERY);
  const UNKNOWN = ""; // the photographer of photos whose photographer is not known
  const UNDATED = "undated";
  const PAUSE = 200; // milliseconds: browsers refuse scripts that change the address all the time
  let shown = null; // the filter that the grid shows, as part of an address
  let pushed = false; // the viewer has an entry of its own in the history

  const known = {
    days: new Set(photos.slots.map((slot) => slot.day)),
    hours: new Set(photos.slots.map((slot) => slot.hour)),
    by: new Set([...photos.photographers, UNKNOWN]),
  };

  /** Read the address; what means nothing here is left out. */
  const read = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    const state = {};
    const day = said.get("day") === UNDATED ? null : said.get("day");
    if (said.has("day") && known.days.has(day)) state.day = day;
    if (state.day && said.has("hour") && known.hours.has(said.get("hour"))) state.hour = said.get("hour");
    if (said.has("by") && known.by.has(said.get("by"))) state.by = said.get("by");
    if (/^\d+$/.test(said.get("photo") ?? "")) state.photo = Number(said.get("photo"));
    return state;
  };

  const written = ({ day, hour, by, photo }) => {
    const said = new URLSearchParams();
    if (day !== undefined) said.set("day", day ?? UNDATED);
    if (hour !== undefined && hour !== null) said.set("hour", hour);
    if (by !== undefined) said.set("by", by);
    if (photo !== undefined) said.set("photo", photo);
    return String(said) || "all"; // an empty one would scroll to the top
  };

  const filterOf = ({ day, hour, by }) => ({ day, hour, by });

  const remember = () => {
    const anchor = find("grid").getBoundingClientRect().top < find("controls").offsetHeight ? grid.anchor() : null;
    history.replaceState({ anchor, top: scrollY }, "");
  };
  const later = (action) => {
    let timer = 0;
    return (...values) => {
      clearTimeout(timer);
      timer = setTimeout(() => action(...values), PAUSE);
    };
  };

  const go = (state) => {
    remember();
    location.hash = written(state);
  };
  const replace = (state) => location.replace(`#${written(state)}`);

  const grid = new Grid(find("grid"), find("controls"), photos, {
    open(photo) {
      pushed = true;
      go({ ...read(), photo });
    },
    moved(said) {
      find("place").textContent = said;
    },
  });
  const histogram = new Histogram(find("days"), photos, (choice) => go({ by: read().by, ...choice }));
  const follow = later((photo) => {
    if (viewer.photo === photo) replace({ ...read(), photo });
  });
  const viewer = new Viewer(find("viewer"), photos, {
    moved: follow,
    closed(photo) {
      grid.focus(photo);
      const own = pushed;
      pushed = false;
      if (read().photo === undefined) return; // Back has closed it
      if (own) history.back();
      else replace(filterOf(read()));
    },
  });

  const by = find("by");
  /** Offer the photographers with what the chosen day or hour has of them. */
  const offer = (filter) => {
    const sections = photos.sections({ day: filter.day, hour: filter.hour });
    const counts = new Map();
    let all = 0;
    for (const section of sections) {
      all += section.photos.length;
      for (const photo of section.photos) {
        const name = photos.photographer(photo) ?? UNKNOWN;
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
    }
    const names = [...photos.photographers].sort((one, other) => one.localeCompare(other, "en"));
    const option = (value, text, count) => make("option", { value, textContent: `${text} (${NUMBER.format(count)})` });
    by.replaceChildren(
      option("*", "All", all),
      ...names.map((name) => option(`=${name}`, say.isolated(name), counts.get(name) ?? 0)),
      ...(GALLERY.photographer.includes(-1) ? [option(`=${UNKNOWN}`, "Unknown", counts.get(UNKNOWN) ?? 0)] : []),
    );
    by.value = filter.by === undefined ? "*" : `=${filter.by}`;
    find("by-label").hidden = names.length === 0;
  };
  by.addEventListener("change", () => {
    const { day, hour } = read();
    go({ day, hour, by: by.value === "*" ? undefined : by.value.slice(1) });
  });
  find("all").addEventListener("click", () => {
    histogram.focus();
    go({});
  });

  const filter = (state) => {
    const before = shown;
    shown = written(filterOf(state));
    if (before === shown) return;
    grid.show(photos.sections(state));
    histogram.show(state);
    offer(state);
    const number = grid.list.length;
    find("count").textContent = number === photos.size ? say.count(number) : `${NUMBER.format(number)} of ${say.count(photos.size)}`;
    find("all").hidden = shown === "all";
    if (history.state?.anchor) grid.restore(history.state.anchor);
    else if (history.state) scrollTo({ top: history.state.top, behavior: "instant" });
    else if (before !== null) grid.rewind();
  };

  const apply = () => {
    const state = read();
    filter(state);
    const place = state.photo === undefined ? -1 : grid.place(state.photo);
    if (place >= 0) viewer.show(grid.list, place);
    else viewer.close();
  };

  find("fallback").remove();
  for (const id of ["when", "controls", "grid"]) find(id).hidden = photos.size === 0 && id !== "controls";
  if (histogram.folded) find("when-title").textContent = "Photos per day";
  history.scrollRestoration = "manual";
  addEventListener("hashchange", apply);
  addEventListener("scroll", later(remember), { passive: true });
  apply();
}
