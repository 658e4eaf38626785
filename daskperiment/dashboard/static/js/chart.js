// Line charts of metrics.  The server thins the points out; a chart asks again for the part
// that is looked at.

import { button, fill, h, newId, say } from "./dom.js";
import { count, integer, moment, number } from "./format.js";
import { colour, onTheme } from "./themes.js";

const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [14, 5]];
const COLOURS = 6;
const MOST_ROWS = 500;

export function lineColour(i) {
  return `line-${i % COLOURS}`;
}

export function lineDash(i) {
  return DASHES[i % DASHES.length];
}

const EPOCHS = { head: "Epoch", tick: number, at: (epoch) => `epoch ${number(epoch)}` };
const OF_TRIALS = { key: ({ trial }) => trial, name: (trial) => `Trial ${trial}` };

// `load(part)` gets {start, end, points} and promises the series of the reply.  `name` is the
// metric; `legend` says whether the lines are told apart, and `lines` by what.  `across` says how
// places on the axis are written, `shown` how values are; `floor` is on the axis in any case.
export function chart({
  name, title = name, load, legend = false, lines = OF_TRIALS, across = EPOCHS, shown = number, floor = null,
}) {
  const state = { series: [], zoom: null, log: false, hidden: new Set(), large: false };
  const plot = h("div", { class: "plot" });
  const readout = h("span", { class: "readout", "aria-hidden": "true", hidden: true });
  const facts = h("span", { class: "muted small" });
  const entries = h("div", { class: "legend", role: "group", "aria-label": "Lines" });
  const log = toggle("Log", "Logarithmic scale", () => {
    state.log = !state.log;
    build();
    return state.log;
  });
  const large = toggle("Expand", "Large chart", () => {
    state.large = !state.large;
    element.classList.toggle("large", state.large);
    refresh();
    return state.large;
  });
  const reset = button("Reset", () => zoom(null), { class: "button tiny", hidden: true, title: "Show all points (double click)" });
  const tools = h("div", { class: "chart-tools", role: "group", "aria-label": `Chart of ${title}` },
    reset,
    small("−", "Zoom out", () => scale(2)),
    small("+", "Zoom in", () => scale(0.5)),
    small("‹", "Earlier", () => shift(-0.5)),
    small("›", "Later", () => shift(0.5)),
    log, large);
  const id = newId("chart");
  const values = h("details", { class: "values" }, h("summary", {}, "Values as a table"));
  values.addEventListener("toggle", () => tabulate());
  const element = h("figure", { class: "chart", "data-metric": name, "aria-labelledby": id },
    h("figcaption", { id }, h("span", { class: "chart-name", title }, title)),
    tools, h("p", { class: "chart-facts" }, facts, readout), plot, legend ? entries : null, values);

  let drawn = null;
  let width = 0;
  const watch = new ResizeObserver(() => {
    const now = Math.floor(plot.clientWidth);
    if (now > 0 && now !== width) {
      width = now;
      if (drawn) drawn.setSize({ width, height: height() });
      else build();
    }
  });
  watch.observe(plot);
  const forget = onTheme(() => {
    entries.replaceChildren();
    build();
  });
  const height = () => (state.large ? 380 : 190);

  function show(series) {
    state.series = series;
    const inside = series.reduce((sum, one) => sum + one.inside, 0);
    const all = series.reduce((sum, one) => sum + one.points, 0);
    const odd = series.reduce((sum, one) => sum + one.values.filter((value) => typeof value === "string").length, 0);
    const exact = series.every((one) => one.exact || one.values.length >= one.inside);
    say(facts, [
      state.zoom ? `${integer(inside)} of ${count(all, "point")}` : count(all, "point"),
      exact ? "" : "thinned out",
      odd ? `${count(odd, "value")} not finite` : "",
    ].filter(Boolean).join(", "));
    draw();
    if (values.open) tabulate();
  }

  // Takes new points only while all of them are shown.
  function live(series) {
    if (!state.zoom) show(series);
  }

  async function refresh() {
    const points = state.large ? 2000 : 1000;
    const asked = state.zoom;
    try {
      // Epochs are whole numbers; one more at each side lets the line reach the edges.
      const [start, end] = asked ? [Math.floor(asked[0]), Math.ceil(asked[1])] : [];
      const series = await load({ start, end, points });
      if (asked === state.zoom) show(series);
    } catch (error) {
      if (!error.passing) say(facts, error.message);
    }
  }

  function zoom(part) {
    state.zoom = part;
    reset.hidden = part === null;
    refresh();
  }

  function extent() {
    if (state.zoom) return state.zoom;
    const ends = state.series.flatMap(({ epochs }) => [epochs[0], epochs.at(-1)]).filter(Number.isFinite);
    return ends.length ? [Math.min(...ends), Math.max(...ends)] : null;
  }

  let whole = null;
  function scale(factor) {
    const part = extent();
    if (!part) return;
    if (!state.zoom) whole = part;
    const middle = (part[0] + part[1]) / 2;
    const half = ((part[1] - part[0]) / 2) * factor;
    if (whole && half * 2 >= whole[1] - whole[0]) zoom(null);
    else if (half > 0) limit(middle - half, middle + half);
  }

  function shift(share) {
    if (!state.zoom) return;
    const by = (state.zoom[1] - state.zoom[0]) * share;
    limit(state.zoom[0] + by, state.zoom[1] + by);
  }

  function limit(start, end) {
    const [first, last] = whole ?? extent();
    const size = Math.min(end - start, last - first);
    const from = Math.max(first, Math.min(start, last - size));
    zoom([from, from + size]);
  }

  let key = null;
  function draw() {
    const now = JSON.stringify(state.series.map(lines.key));
    // Only new points: the cursor and a part that is being marked stay as they are.
    if (drawn && now === key) {
      if (drawn.height !== height()) drawn.setSize({ width, height: height() });
      drawn.setData(table());
      describe();
    } else build();
    key = now;
  }

  function table() {
    const drawable = (value) => (typeof value === "number" && (!state.log || value > 0) ? value : null);
    const tables = state.series.map((one) => [one.epochs, one.values.map(drawable)]);
    return tables.length > 1 ? window.uPlot.join(tables) : tables[0];
  }

  function build() {
    drawn?.destroy();
    drawn = null;
    if (!width || !state.series.length) {
      fill(plot, state.series.length ? null : h("p", { class: "waiting" }, "No points"));
      return;
    }
    plot.replaceChildren();
    if (legend) showLegend();
    drawn = new window.uPlot(options(), table(), plot);
    describe();
  }

  function options() {
    const text = colour("muted");
    const axis = { stroke: text, font: "11px system-ui, sans-serif", grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false } };
    return {
      width,
      height: height(),
      padding: [10, 12, 0, 0],
      legend: { show: false },
      cursor: {
        drag: { x: true, y: false, setScale: false },
        bind: { dblclick: () => () => { zoom(null); return null; } },
        points: { size: 7 },
      },
      scales: {
        x: { time: false, range: (u, low, high) => (low === high ? [low - 1, high + 1] : state.zoom ?? [low, high]) },
        y: state.log ? { distr: 3 } : floor === null ? {} : { range: (u, low, high) => [Math.min(floor, low), high > floor ? high * 1.05 : floor + 1] },
      },
      axes: [
        { ...axis, size: 28, space: 60, ...(across === EPOCHS ? {} : { values: (u, ticks) => ticks.map(across.tick) }) },
        { ...axis, size: shown === number ? 48 : 56, space: 32, values: (u, ticks) => ticks.map((tick) => (tick === null ? "" : shown(tick))) },
      ],
      series: [{}, ...state.series.map((one, i) => ({
        stroke: colour(lineColour(i)), width: 1.6, dash: lineDash(i), show: !state.hidden.has(lines.key(one)),
        points: { size: 5 },
      }))],
      hooks: {
        setSelect: [(u) => {
          if (u.select.width < 4) return;
          if (!state.zoom) whole = extent();
          const part = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          zoom(part);
        }],
        setCursor: [read],
      },
    };
  }

  function read(u) {
    const at = u.cursor.left < 0 ? null : u.cursor.idx;
    const off = at === null || at === undefined;
    readout.hidden = off;
    facts.hidden = !off;
    const texts = state.series.map((one, i) => (off || !Number.isFinite(u.data[i + 1][at]) ? "" : shown(u.data[i + 1][at])));
    if (legend) texts.forEach((text, i) => say(entries.children[i].lastElementChild, text));
    if (off) return;
    const exact = legend ? null : state.series[0].times?.[at];
    say(readout, `${across.at(u.data[0][at])}${legend ? "" : `  ${shown(state.series[0].values[at])}`}`);
    readout.title = exact ? moment(exact) : "";
  }

  function showLegend() {
    const known = new Map([...entries.children].map((one) => [one.dataset.line, one]));
    const wanted = state.series.map((one, i) => known.get(String(lines.key(one))) ?? entry(lines.key(one), i));
    if (wanted.length !== entries.children.length || wanted.some((one, i) => one !== entries.children[i])) fill(entries, wanted);
  }

  function entry(key, i) {
    const swatch = h("canvas", { class: "swatch", "aria-hidden": "true" });
    swatch.width = 44;
    swatch.height = 8;
    const paint = swatch.getContext("2d");
    paint.strokeStyle = colour(lineColour(i));
    paint.lineWidth = 4;
    paint.setLineDash(lineDash(i).map((part) => part * 1.5));
    paint.beginPath();
    paint.moveTo(0, 4);
    paint.lineTo(44, 4);
    paint.stroke();
    const one = button([swatch, lines.name(key), h("span", { class: "legend-value" })], () => {
      if (!state.hidden.delete(key)) state.hidden.add(key);
      one.setAttribute("aria-pressed", String(!state.hidden.has(key)));
      drawn?.setSeries(state.series.findIndex((other) => lines.key(other) === key) + 1, { show: !state.hidden.has(key) });
    }, { class: "legend-entry", "data-line": key, "aria-pressed": "true" });
    return one;
  }

  function describe() {
    const texts = state.series.map((one) => {
      const finite = one.values.filter(Number.isFinite);
      if (!finite.length) return "";
      const low = finite.reduce((a, b) => Math.min(a, b));
      const high = finite.reduce((a, b) => Math.max(a, b));
      return `${legend ? `${lines.name(lines.key(one))}: ` : ""}from ${shown(low)} to ${shown(high)}, last ${shown(finite.at(-1))}`;
    });
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `Line chart of ${title}; ${texts.filter(Boolean).join("; ")}`);
  }

  function tabulate() {
    if (!values.open) return;
    const heads = [across.head, ...state.series.map((one) => (legend ? lines.name(lines.key(one)) : title))];
    const epochs = [...new Set(state.series.flatMap((one) => one.epochs))].sort((a, b) => a - b);
    const maps = state.series.map((one) => new Map(one.epochs.map((epoch, i) => [epoch, one.values[i]])));
    const rows = epochs.slice(0, MOST_ROWS).map((epoch) => h("tr", {},
      h("th", { scope: "row" }, across.tick(epoch)),
      maps.map((map) => h("td", { class: "number" }, map.has(epoch) ? shown(map.get(epoch)) : ""))));
    const more = epochs.length > MOST_ROWS ? h("p", { class: "muted small" }, `The first ${MOST_ROWS} of ${integer(epochs.length)} rows. Zoom in to see others.`) : null;
    fill(values, values.firstElementChild, h("div", { class: "scroll short", tabindex: "0" },
      h("table", { class: "plain-table" }, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, rows))), more);
  }

  return {
    element,
    show,
    live,
    refresh,
    close() {
      watch.disconnect();
      forget();
      drawn?.destroy();
      drawn = null;
    },
  };
}

function small(text, name, click) {
  return button(h("span", { "aria-hidden": "true" }, text), click, { class: "button tiny", "aria-label": name, title: name });
}

function toggle(text, title, click) {
  const one = button(text, () => one.setAttribute("aria-pressed", String(click())), { class: "button tiny", title, "aria-pressed": "false" });
  return one;
}
