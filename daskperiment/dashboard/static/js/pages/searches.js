// The searches of an experiment.

import { get } from "../api.js";
import { badge } from "../badge.js";
import { arrange, fill, h, link, say } from "../dom.js";
import { count, integer, time } from "../format.js";
import { poll } from "../live.js";
import { addressOf, bestOf, metricText, samplerText } from "../search/facts.js";
import { api, pages } from "../urls.js";

const HEADS = [["Search"], ["State"], ["Sampler"], ["Metric"], ["Complete", true], ["Pruned", true], ["Failed", true], ["Running", true], ["Best"], ["Began"]];
const EXAMPLE = `from daskperiment.search import Float

search = ex.search(score(ex.parameter("rate")), {"rate": Float(1e-4, 1, log=True)}, n_trials=50)
search.best.parameters`;

export function open(place) {
  const { id } = place.params;
  place.title(`Searches of ${id}`);
  place.crumbs([id, pages.trials(id)], ["Searches", pages.searches(id)]);
  const summary = h("p", { class: "muted" });
  const body = h("div", { class: "panel" }, h("p", { class: "waiting" }, "Loading ..."));
  fill(place.root, h("div", { class: "head" }, h("div", {}, h("h1", {}, "Searches"), summary)), body);
  const tbody = h("tbody");
  const rows = new Map();
  let shown = null;
  let filled = false;

  function draw() {
    const { searches } = shown;
    say(summary, searches.length ? count(searches.length, "search", "searches") : "");
    if (!searches.length) {
      filled = false;
      fill(body, nothing());
      return;
    }
    if (!filled) fill(body, table());
    filled = true;
    for (const uid of rows.keys()) if (!searches.some((one) => one.uid === uid)) rows.delete(uid);
    arrange(tbody, searches.map(row));
  }

  function table() {
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Searches of ${id}` },
      h("table", { class: "plain-table stacking searches" },
        h("caption", { class: "unseen" }, `Searches of ${id}`),
        h("thead", {}, h("tr", {}, HEADS.map(([text, right]) => h("th", { scope: "col", class: right ? "number" : null }, text)))),
        tbody));
  }

  function row(one) {
    const text = JSON.stringify(one);
    let known = rows.get(one.uid);
    if (!known) {
      known = { element: h("tr", { "data-search": one.search }, h("th", { scope: "row" }, h("a", { href: addressOf(id, one), class: "clip", title: one.description || one.search }, one.search))), text: null };
      rows.set(one.uid, known);
    }
    if (known.text !== text) {
      known.text = text;
      while (known.element.children.length > 1) known.element.lastElementChild.remove();
      known.element.append(...cells(one).map((content, i) => h("td", { "data-label": HEADS[i + 1][0], class: HEADS[i + 1][1] ? "number" : null }, content)));
    }
    return known.element;
  }

  function cells(one) {
    const clip = (text) => h("span", { class: "clip", title: text }, text);
    const number = (value) => (value ? integer(value) : h("span", { class: "faint" }, "0"));
    const main = one.metrics.filter(({ name }) => one.main === null || name === one.main);
    return [badge(one.state), clip(samplerText(one.sampler)), clip(main.map(metricText).join(", ")),
      number(one.complete), number(one.pruned), number(one.failed), number(one.running), h("span", {}, bestOf(id, one)), time(one.started)];
  }

  function nothing() {
    return h("div", { class: "empty" }, h("h2", {}, "No search yet"),
      h("p", {}, "A search tries values of parameters and looks for the best ones. It appears here by itself when it begins:"),
      h("pre", { class: "sample" }, EXAMPLE),
      h("p", {}, link(pages.trials(id), `All trials of ${id}`)));
  }

  const polling = poll(async (signal) => {
    const data = await get(api.searches(id), null, signal);
    if (data === shown) return;
    shown = data;
    draw();
  }, { failed: place.fail });

  function move(step) {
    const links = [...place.root.querySelectorAll("tbody th > a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
  }

  return {
    close: polling.stop,
    keys: [
      { key: "j", does: "Next search", run: () => move(1) },
      { key: "k", does: "Previous search", run: () => move(-1) },
      { key: "Enter", does: "Open it" },
    ],
  };
}
