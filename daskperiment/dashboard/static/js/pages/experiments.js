// All experiments of the store.

import { get } from "../api.js";
import { badge } from "../badge.js";
import { arrange, button, fill, h, link } from "../dom.js";
import { count, integer, time } from "../format.js";
import { poll } from "../live.js";
import { api, pages } from "../urls.js";

const EXAMPLE = `import daskperiment

ex = daskperiment.Experiment("quickstart")
a = ex.parameter("a")

@ex.result
def score(a):
    return a + 1

ex.set_parameters(a=1)
score(a).compute()
`;

export function open(place) {
  place.title("Experiments");
  place.crumbs();
  const summary = h("p", { class: "muted" });
  const filter = h("input", {
    type: "search", placeholder: "Find an experiment", "aria-label": "Find an experiment",
    autocomplete: "off", spellcheck: "false", hidden: true, on: { input: () => draw() },
  });
  const body = h("div", { class: "panel" }, h("p", { class: "waiting" }, "Loading ..."));
  fill(
    place.root,
    h("div", { class: "head" }, h("div", {}, h("h1", {}, "Experiments"), summary), filter),
    body,
  );
  let shown = null;
  let tbody = null;
  const rows = new Map();

  function draw() {
    const all = shown.experiments;
    filter.hidden = all.length < 8;
    if (!all.length) {
      summary.textContent = "";
      fill(body, empty());
      tbody = null;
      return;
    }
    const trials = all.reduce((sum, one) => sum + one.trials, 0);
    summary.textContent = `${count(all.length, "experiment")}, ${count(trials, "trial")}`;
    if (!tbody) {
      tbody = h("tbody");
      fill(body, table(tbody));
    }
    const wanted = filter.value.trim().toLowerCase();
    const found = all.filter(({ experiment }) => experiment.toLowerCase().includes(wanted));
    arrange(tbody, found.map(row));
  }

  function row(one) {
    const text = JSON.stringify(one);
    let known = rows.get(one.experiment);
    if (!known) {
      const name = link(pages.trials(one.experiment), one.experiment);
      const cells = h("tr", { "data-experiment": one.experiment }, h("th", { scope: "row" }, name));
      known = { cells, text: null };
      rows.set(one.experiment, known);
    }
    if (known.text !== text) {
      known.text = text;
      const { cells } = known;
      while (cells.children.length > 1) cells.lastElementChild.remove();
      cells.append(...details(one));
    }
    return known.cells;
  }

  const polling = poll(async (signal) => {
    const data = await get(api.experiments(), null, signal);
    if (data === shown) return;
    shown = data;
    draw();
  }, { failed: place.fail });

  function move(step) {
    const links = [...place.root.querySelectorAll("tbody a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + step))]?.focus();
  }

  return {
    close: polling.stop,
    turned() {},
    keys: [
      { key: "/", does: "Find an experiment", run: () => filter.focus() },
      { key: "j", does: "Next experiment", run: () => move(1) },
      { key: "k", does: "Previous experiment", run: () => move(-1) },
      { key: "Enter", does: "Open it" },
    ],
  };
}

function table(tbody) {
  const heads = ["Experiment", "Trials", "Running", "Last trial"];
  return h("table", { class: "plain-table experiments" },
    h("caption", { class: "unseen" }, "Experiments of this store"),
    h("thead", {}, h("tr", {}, heads.map((text, i) =>
      h("th", { scope: "col", class: i === 1 || i === 2 ? "number" : null }, text)))),
    tbody);
}

function details({ experiment, trials, running, last }) {
  return [
    h("td", { class: "number", "data-label": "Trials" }, integer(trials)),
    h("td", { class: "number", "data-label": "Running" },
      running ? h("a", { href: pages.running(experiment), class: "busy-text", "aria-label": `What runs of ${experiment}, ${running}` }, integer(running))
        : h("span", { class: "faint" }, "0")),
    h("td", { "data-label": "Last trial" }, last
      ? h("span", { class: "line" },
        link(pages.trial(experiment, last.trial), `Trial ${last.trial}`),
        badge(last.state),
        h("span", { class: "muted" }, time(last.finished ?? last.started)))
      : h("span", { class: "faint" }, "No trial yet")),
  ];
}

function empty() {
  const copy = button("Copy", () => {
    navigator.clipboard?.writeText(EXAMPLE).then(() => { copy.textContent = "Copied"; }, () => {});
  });
  return h("div", { class: "empty" },
    h("h2", {}, "No experiment here yet"),
    h("p", {}, "Run this in the folder in which you started the dashboard. The trial appears here by itself."),
    h("div", { class: "sample-box" }, h("pre", { class: "sample" }, EXAMPLE), copy));
}
