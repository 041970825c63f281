"use strict";
// The page works without this: it adds the reader's own time zone, and refreshes without jumping or closing anything.
(() => {
  const options = {
    title: { dateStyle: "full", timeStyle: "long" },
    moment: { dateStyle: "medium", timeStyle: "short" },
    short: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
    clock: { timeStyle: "medium" },
  };
  const localise = (root) => {
    for (const element of root.querySelectorAll("time[data-local]")) {
      const kind = element.dataset.local;
      const text = new Intl.DateTimeFormat(undefined, options[kind]).format(new Date(element.dateTime));
      if (kind === "title") element.title = text;
      else element.textContent = text;
    }
  };
  const find = (id, root = document) => root.getElementById(id);
  const hold = find("hold");
  let held = false;

  const replace = (fresh) => {
    if (fresh.documentElement.dataset.version !== document.documentElement.dataset.version) {
      location.reload(); // another version's page wants its own style and script
      return;
    }
    localise(fresh);
    for (const element of find("content").querySelectorAll("details[id]")) {
      const same = find(element.id, fresh);
      if (same) same.open = element.open;
    }
    const active = document.activeElement;
    const place = active?.closest("details[id]")?.id;
    const link = active?.getAttribute("href");
    find("content").replaceWith(fresh.adoptNode(find("content", fresh)));
    const again = place ? find(place)?.querySelector("summary") : link && find("content").querySelector(`a[href="${link}"]`);
    again?.focus({ preventScroll: true });
    for (const id of ["headline", "seen"]) {
      const [old, recent] = [find(id), find(id, fresh)];
      old.className = recent.className;
      // told again by a screen reader only when it changed
      if (old.textContent !== recent.textContent) old.replaceChildren(...recent.childNodes);
    }
    find("icon").href = find("icon", fresh).href;
    document.title = fresh.title;
  };

  const refresh = async () => {
    if (held || document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      // whoever is just marking text keeps it
      if (!held && getSelection().isCollapsed) replace(fresh);
      find("lost").hidden = true;
    } catch {
      find("lost").hidden = false;
    }
  };

  hold.hidden = false;
  hold.addEventListener("click", () => {
    held = !held;
    hold.setAttribute("aria-pressed", String(held));
    refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  localise(document);
  setInterval(refresh, document.body.dataset.refresh * 1000);
})();
