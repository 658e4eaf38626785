// One trial: what it is, and its parts, of which only the one that is shown is loaded.

import { get } from "../api.js";
import { badge, tags, taint } from "../badge.js";
import { fill, h, say } from "../dom.js";
import { duration, ticking, time } from "../format.js";
import { poll } from "../live.js";
import { artifacts } from "../trial/artifacts.js";
import { code } from "../trial/code.js";
import { environment } from "../trial/environment.js";
import { graph } from "../trial/graph.js";
import { metrics } from "../trial/metrics.js";
import { output } from "../trial/output.js";
import { overview } from "../trial/overview.js";
import { reproductions } from "../trial/reproductions.js";
import { taints } from "../trial/taints.js";
import { usage } from "../trial/usage.js";
import { api, pages, readSection, section } from "../urls.js";

const PARTS = [
  ["overview", "Overview", overview],
  ["metrics", "Metrics", metrics],
  ["graph", "Graph", graph],
  ["code", "Code", code],
  ["output", "Output", output],
  ["environment", "Environment", environment],
  ["artifacts", "Artifacts", artifacts],
  ["usage", "Usage", usage],
];
const AT_REST = 6000;

export function open(place) {
  const { id, n } = place.params;
  place.title(`Trial ${n} of ${id}`);
  place.crumbs([id, pages.trials(id)], [`Trial ${n}`, pages.trial(id, n)]);
  place.root.classList.add("trial");
  const head = h("div", { class: "trial-head" }, h("h1", {}, `Trial ${n}`));
  const nav = h("nav", { class: "sections", "aria-label": "Parts of the trial" });
  const body = h("div", { class: "part" }, h("p", { class: "waiting" }, "Loading ..."));
  fill(place.root, head, nav, body);
  const links = new Map(PARTS.map(([name, title]) => {
    const count = h("span", { class: "tab-count" });
    return [name, { count, element: h("a", { href: section(name), "data-part": name }, title, count) }];
  }));
  fill(nav, [...links.values()].map(({ element }) => element));

  let trial = null;
  let part = null;

  const polling = poll(async (signal) => {
    const data = await get(api.trial(id, n), null, signal);
    if (data !== trial) {
      const first = trial === null;
      trial = data;
      showHead();
      if (first) turned();
      else part?.update?.(trial);
    }
    return live() ? undefined : AT_REST;
  }, { failed: place.fail });

  const live = () => trial.state === "RUNNING" || trial.state === "WAITING";

  let headed = null;
  let again = null;
  function showHead() {
    // What runs has run no other again, and nothing can run it again.
    if (!live()) again ??= reproductions({ id, n, uid: trial.uid });
    const { previous, next } = trial;
    showCounts();
    const text = JSON.stringify({ ...trial, metrics: null, parameters: null, artifacts: null, steps: null });
    if (text === headed) return;
    headed = text;
    const hash = location.hash;
    const step = (to, text, name) => (to === null
      ? h("span", { class: "button off", "aria-hidden": "true" }, text)
      : h("a", { class: "button", href: pages.trial(id, to, hash), "aria-label": `${name}, ${to}`, title: `${name}, ${to}`, "data-step": name }, text));
    const focused = head.contains(document.activeElement) ? document.activeElement.dataset.step : null;
    fill(head,
      h("div", { class: "trial-title" },
        h("h1", {}, `Trial ${trial.trial}`), badge(trial.state),
        trial.late ? h("span", { class: "tag", title: "It completed after it had been taken for dead." }, "late") : null,
        taint(trial.tainted), tags(trial.tags),
        h("span", { class: "gap" }),
        h("span", { class: "line steps" },
          trial.previous === null ? null : h("a", { class: "button quiet", href: pages.compare(id, [trial.previous, trial.trial]) }, `Compare with ${trial.previous}`),
          step(previous, "←", "Previous trial"), step(next, "→", "Next trial"))),
      h("p", { class: "facts" }, facts()),
      again?.element,
      taints(trial.taints),
      trial.note ? h("p", { class: "note" }, trial.note) : null);
    if (focused) head.querySelector(`[data-step="${focused}"]`)?.focus();
  }

  function showCounts() {
    const { steps } = trial;
    const counts = {
      metrics: trial.metrics.length,
      artifacts: trial.artifacts.length,
      graph: steps.ran + steps.failed + steps.reused,
    };
    for (const [name, number] of Object.entries(counts)) say(links.get(name).count, number ? String(number) : "");
  }

  function facts() {
    const items = [];
    if (trial.started) items.push(h("span", {}, "Started ", time(trial.started)));
    if (trial.state === "RUNNING" && trial.started && trial.seconds === null) {
      items.push(h("span", {}, "Runs for ", ticking(trial.started)));
    } else if (trial.seconds !== null) items.push(h("span", {}, "Took ", h("b", {}, duration(trial.seconds))));
    if (trial.git) {
      items.push(h("span", {}, "Commit ", h("code", { title: trial.git.commit }, trial.git.commit.slice(0, 8)),
        trial.git.branch ? ` on ${trial.git.branch}` : "",
        trial.git.dirty ? h("span", { class: "dirty", title: "The working tree had changes that were not committed." }, " with changes") : null));
    }
    if (trial.user || trial.host) items.push(h("span", {}, [trial.user, trial.host].filter(Boolean).join(" on ")));
    return items;
  }

  // Scrolls the tabs alone, not the page with them.
  function reveal(element) {
    const [outer, inner] = [nav.getBoundingClientRect(), element.getBoundingClientRect()];
    nav.scrollLeft += Math.min(0, inner.left - outer.left) + Math.max(0, inner.right - outer.right);
  }

  function turned() {
    if (!trial) return;
    const [name, rest] = readSection(location.hash);
    const entry = PARTS.find(([one]) => one === name) ?? PARTS[0];
    for (const [one, { element }] of links) {
      if (one === entry[0]) {
        element.setAttribute("aria-current", "page");
        reveal(element);
      } else element.removeAttribute("aria-current");
    }
    for (const step of head.querySelectorAll("a[data-step]")) {
      step.setAttribute("href", step.getAttribute("href").split("#")[0] + location.hash);
    }
    if (part?.name === entry[0]) {
      part.turned?.(rest);
      return;
    }
    part?.close?.();
    const root = h("section", { "aria-label": entry[1], class: `part-${entry[0]}` });
    fill(body, root);
    part = { name: entry[0], ...entry[2]({ id, n, root, trial, rest, go: place.go, announce: place.announce }) };
  }

  const step = (to) => () => (to() === null || to() === undefined ? false : place.go(pages.trial(id, to(), location.hash)));
  const show = (name) => () => { location.hash = name; };
  return {
    close() {
      polling.stop();
      again?.close();
      part?.close?.();
    },
    turned,
    keys: [
      { key: "[", does: "Previous trial", run: step(() => trial?.previous) },
      { key: "]", does: "Next trial", run: step(() => trial?.next) },
      { key: "c", does: "Compare with the trial before", run: () => trial && trial.previous !== null && place.go(pages.compare(id, [trial.previous, trial.trial])) },
      { key: "/", does: "Go to the filter of this part", run: () => body.querySelector("input[type=search]")?.focus() },
      { key: "Escape", run: () => part?.escape?.() ?? false },
      ...PARTS.map(([name, title], i) => ({ key: String(i + 1), does: `Show ${title.toLowerCase()}`, run: show(name) })),
    ],
  };
}
