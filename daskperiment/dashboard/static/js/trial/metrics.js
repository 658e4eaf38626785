// Charts of the metrics of a trial.

import { get } from "../api.js";
import { chart } from "../chart.js";
import { arrange, button, fill, h, trouble } from "../dom.js";
import { count } from "../format.js";
import { poll } from "../live.js";
import { api } from "../urls.js";

const AT_ONCE = 12;

export function metrics({ id, n, root, trial, rest }) {
  const charts = new Map();
  const search = h("input", { type: "search", placeholder: "Find a metric", "aria-label": "Find a metric", autocomplete: "off", spellcheck: "false" });
  const found = h("span", { class: "muted" });
  const grid = h("div", { class: "charts" });
  const more = button("Show more", () => {
    most += AT_ONCE;
    draw();
  });
  const tools = h("div", { class: "tools" }, search, found);
  let most = AT_ONCE;
  let names = [];
  let polling = null;
  let last = null;
  search.value = rest ?? "";
  search.addEventListener("input", () => {
    most = AT_ONCE;
    draw();
  });

  function wanted() {
    const text = search.value.trim().toLowerCase();
    return names.filter((name) => name.toLowerCase().includes(text));
  }

  function draw() {
    const all = wanted();
    const shown = all.slice(0, most);
    for (const [name, one] of charts) {
      if (!shown.includes(name)) {
        one.close();
        charts.delete(name);
      }
    }
    for (const name of shown) if (!charts.has(name)) charts.set(name, make(name));
    arrange(grid, shown.map((name) => charts.get(name).element));
    more.hidden = all.length <= most;
    found.textContent = all.length === names.length ? count(all.length, "metric") : `${all.length} of ${count(names.length, "metric")}`;
    last = null;
    polling?.now();
  }

  function make(name) {
    return chart({
      name,
      load: async (part) => (await get(api.metrics(id), { trials: [n], names: [name], ...part })).series,
    });
  }

  async function ask(signal) {
    const asked = [...charts.keys()];
    if (!asked.length) return 6000;
    for (let i = 0; i < asked.length; i += AT_ONCE) {
      const part = asked.slice(i, i + AT_ONCE);
      const data = await get(api.metrics(id), { trials: [n], names: part, points: 1000 }, signal);
      if (grid.parentNode !== root) put();
      if (last?.get(i) === data) continue;
      last = (last ?? new Map()).set(i, data);
      for (const one of data.series) charts.get(one.name)?.live([one]);
    }
    return trial.state === "RUNNING" ? undefined : 6000;
  }

  function put() {
    fill(root, tools, grid, h("p", { class: "center" }, more));
  }

  function close() {
    for (const one of charts.values()) one.close();
    charts.clear();
  }

  function update(next) {
    trial = next;
    const now = trial.metrics.map(({ name }) => name);
    if (JSON.stringify(now) === JSON.stringify(names) && names.length) return;
    names = now;
    if (!names.length) {
      close();
      fill(root, h("div", { class: "empty" }, h("h2", {}, "No metrics"),
        h("p", {}, "Log values from within a step, and they are drawn here while it runs:"),
        h("pre", { class: "sample" }, 'ex.log_metric("loss", value, epoch=epoch)')));
      return;
    }
    if (grid.parentNode !== root) put();
    tools.hidden = names.length < 2;
    draw();
    polling ??= poll(ask, { failed: (error) => trouble(root, error) });
  }
  update(trial);

  return {
    update,
    turned(next) {
      search.value = next ?? "";
      if (names.length) draw();
    },
    close() {
      polling?.stop();
      close();
    },
  };
}
