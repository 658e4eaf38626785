// Charts of what the processes of a trial have used.

import { get } from "../api.js";
import { chart } from "../chart.js";
import { arrange, fill, h, trouble } from "../dom.js";
import { bytes, duration, number, percent } from "../format.js";
import { poll } from "../live.js";
import { api } from "../urls.js";

const SECONDS = { head: "Seconds", tick: short, at: (seconds) => `after ${duration(seconds)}` };
const PROCESSES = { key: ({ host, pid }) => `${host}:${pid}`, name: (place) => place };
const PAUSE = 2000;
const AT_REST = 6000;

export function usage({ id, n, root, trial }) {
  const charts = new Map();
  const grid = h("div", { class: "charts" });
  const note = h("p", { class: "muted small charts-note" }, "Of the processes that ran its steps, with their children. "
    + "Two busy processors are 200 %; memory is resident; a graphics processor may be used by others as well.");
  let last = null;
  fill(root, h("p", { class: "waiting" }, "Loading ..."));

  const polling = poll(async (signal) => {
    const data = await get(api.trial(id, n, "usage"), { points: 1000 }, signal);
    if (data !== last) draw(data);
    last = data;
    return data.ended ? AT_REST : PAUSE;
  }, { failed });

  function failed(error) {
    last = null;
    trouble(root, error);
  }

  function draw({ series, ended }) {
    if (!series.length) {
      clear();
      fill(root, empty(ended));
      return;
    }
    const names = [...new Set(series.map(({ name }) => name))].sort(order);
    const several = new Set(series.map(PROCESSES.key)).size > 1;
    for (const [name, known] of charts) {
      if (names.includes(name) && known.several === several) continue;
      known.chart.close();
      charts.delete(name);
    }
    for (const name of names) if (!charts.has(name)) charts.set(name, { several, chart: make(name, several) });
    if (grid.parentNode !== root) fill(root, note, grid);
    arrange(grid, names.map((name) => charts.get(name).chart.element));
    for (const name of names) charts.get(name).chart.live(of(series, name));
  }

  function make(name, legend) {
    return chart({
      name,
      title: title(name),
      legend,
      lines: PROCESSES,
      across: SECONDS,
      shown: name.endsWith("memory") ? bytes : percent,
      floor: 0,
      load: async (part) => of((await get(api.trial(id, n, "usage"), { names: [name], ...part })).series, name),
    });
  }

  function empty(ended) {
    const why = trial.forgotten?.includes("usage") ? "What this trial used was forgotten."
      : ended ? "A trial that takes less than half a second is not sampled, and none is where the option usage is off."
        : "What its processes use appears here some seconds after a step has begun.";
    return h("div", { class: "empty" }, h("h2", {}, "Nothing sampled"), h("p", {}, why));
  }

  function clear() {
    for (const known of charts.values()) known.chart.close();
    charts.clear();
  }

  return {
    update(next) {
      trial = next;
    },
    close() {
      polling.stop();
      clear();
    },
  };
}

function of(series, name) {
  return series.filter((one) => one.name === name).map((one) => ({ ...one, epochs: one.seconds }));
}

function title(name) {
  const [, device, memory] = name.match(/^gpu(\d+)(_memory)?$/) ?? [];
  if (device !== undefined) return `GPU ${device}${memory ? " memory" : ""}`;
  return { cpu: "CPU", memory: "Memory" }[name] ?? name;
}

function order(one, other) {
  const rank = (name) => (name === "cpu" ? 0 : name === "memory" ? 1 : 2);
  return rank(one) - rank(other) || (one < other ? -1 : 1);
}

function short(seconds) {
  if (seconds < 600) return `${number(seconds)} s`;
  if (seconds < 7200) return `${number(seconds / 60)} min`;
  return `${number(seconds / 3600)} h`;
}
