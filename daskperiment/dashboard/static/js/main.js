// The table of pages, and what brings one of them onto the screen.

import { get } from "./api.js";
import { button, fill, h, say } from "./dom.js";
import { listen, setKeys } from "./keys.js";
import { onHealth, retry } from "./live.js";
import { startTheme } from "./themes.js";
import { api, pages } from "./urls.js";

const PAGES = [
  ["/experiments", () => import("./pages/experiments.js")],
  ["/experiments/:id", () => import("./pages/trials.js")],
  ["/experiments/:id/trials/:n", () => import("./pages/trial.js")],
  ["/experiments/:id/compare", () => import("./pages/compare.js")],
  ["/experiments/:id/searches", () => import("./pages/searches.js")],
  ["/experiments/:id/searches/:name", () => import("./pages/search.js")],
  ["/running", () => import("./pages/running.js")],
];

const main = document.getElementById("main");
const announcements = document.getElementById("announcements");
let meta = null;
let current = null;
let visit = 0;

function find(path) {
  const parts = path.replace(/\/+$/, "").split("/");
  for (const [pattern, load] of PAGES) {
    const names = pattern.split("/");
    if (names.length !== parts.length) continue;
    const params = {};
    try {
      const fits = names.every((name, i) => {
        if (!name.startsWith(":")) return name === parts[i];
        params[name.slice(1)] = decodeURIComponent(parts[i]);
        return parts[i] !== "";
      });
      if (fits) return { pattern, load, params };
    } catch {
      return null;
    }
  }
  return null;
}

function go(address, { replace = false } = {}) {
  const change = replace ? "replaceState" : "pushState";
  history[change](null, "", address);
  return show({ moved: !replace });
}

async function show({ moved = false } = {}) {
  const { pathname, search, hash } = location;
  if (pathname === "/") {
    const first = await begin();
    const address = first?.experiment ? pages.trials(first.experiment) : pages.experiments();
    // A token has done its work when the shell is there, and need not stand in the address.
    const query = new URLSearchParams(search);
    query.delete("token");
    return go(address + (query.size ? `?${query}` : "") + hash, { replace: true });
  }
  const found = find(pathname);
  const key = found ? JSON.stringify([found.pattern, found.params]) : pathname;
  if (current?.key === key && current.page?.turned) {
    current.place.query = new URLSearchParams(search);
    current.page.turned();
    return undefined;
  }
  visit += 1;
  const mine = visit;
  leave();
  const place = {
    params: found?.params ?? {},
    query: new URLSearchParams(search),
    root: h("div", { class: "page" }),
    go,
    announce,
    title,
    crumbs,
    fail: (error) => {
      if (mine === visit) fail(place, error);
    },
  };
  current = { key, place, page: null };
  document.getElementById("health").hidden = false;
  let module;
  try {
    module = await (found ? found.load() : import("./pages/missing.js"));
  } catch {
    // A browser may not fetch a script again which it could not get once.
    module = { open: unreachable };
  }
  if (mine !== visit) return undefined;
  const running = document.getElementById("running");
  running.hidden = pathname === running.getAttribute("href");
  main.replaceChildren(place.root);
  current.page = module.open(place) ?? {};
  setKeys(current.page.keys ?? []);
  if (moved) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  return undefined;
}

function unreachable(place) {
  document.getElementById("health").hidden = true;
  place.title("daskperiment");
  fill(place.root, h("div", { class: "empty" }, h("h1", {}, "This page cannot be loaded"),
    h("p", {}, "The dashboard does not answer. Does its command still run?"),
    button("Try again", () => location.reload())));
}

function leave() {
  current?.page?.close?.();
  current = null;
  setKeys([]);
}

// Shows why a page cannot be shown in place of it.
async function fail(place, error) {
  current?.page?.close?.();
  // A page that cannot be shown is not kept up to date either.
  document.getElementById("health").hidden = true;
  const { open } = await import("./pages/missing.js");
  if (current?.place !== place) return;
  current.page = open(place, error) ?? {};
  setKeys([]);
}

function announce(text) {
  say(announcements, text);
}

function title(text) {
  document.title = text;
}

// Steps are [text, address]; the last one is where we are.
function crumbs(...steps) {
  const items = [["Experiments", pages.experiments()], ...steps];
  fill(
    document.getElementById("crumbs"),
    h("ol", {}, items.map(([text, address], i) => {
      const here = i === items.length - 1;
      return h("li", {}, h("a", { href: address, title: text, "aria-current": here ? "page" : null }, text));
    })),
  );
}

async function begin() {
  if (meta) return meta;
  try {
    meta = await get(api.meta());
  } catch {
    return null;
  }
  const store = document.getElementById("store");
  say(store, meta.store);
  store.title = `${meta.store}, daskperiment ${meta.version}`;
  return meta;
}

function followLink(event) {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || anchor.hasAttribute("download")) return;
  const address = anchor.getAttribute("href");
  if (anchor.classList.contains("skip")) {
    event.preventDefault();
    main.focus();
  } else if (address.startsWith("/") && !address.startsWith("/api/")) {
    event.preventDefault();
    go(address);
  }
}

function showHealth(problem) {
  const banner = document.getElementById("banner");
  const health = document.getElementById("health");
  banner.hidden = problem === null;
  document.body.classList.toggle("away", problem !== null);
  say(health, problem === null ? "Live" : "Away");
  if (problem === null) {
    banner.replaceChildren();
    return;
  }
  const again = h("button", { type: "button", class: "button", on: { click: retry } }, "Try now");
  if (banner.firstElementChild?.textContent === problem.message) return;
  fill(
    banner,
    h("span", { class: "message" }, problem.message),
    h("span", { class: "hint" }, "What is shown may be old. The page tries again by itself."),
    again,
  );
}

window.addEventListener("popstate", () => show());
document.addEventListener("click", followLink);
onHealth(showHealth);
showHealth(null);
listen();
startTheme();
begin();
show();

