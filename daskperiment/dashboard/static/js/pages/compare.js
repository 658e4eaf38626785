// Some trials of an experiment side by side: only what differs.

import { get } from "../api.js";
import { badge, tags } from "../badge.js";
import { chart } from "../chart.js";
import { diffBlock } from "../code.js";
import { button, fill, h, link } from "../dom.js";
import { count, duration, ticking, time } from "../format.js";
import { poll } from "../live.js";
import { api, pages } from "../urls.js";

const MOST = 10;
const MOST_CHARTS = 12;

export function open(place) {
  const { id } = place.params;
  let trials = read();
  let data = null;
  let drawn = null;
  let charts = new Map();
  const adding = h("input", { type: "text", inputmode: "numeric", class: "short-input", placeholder: "7", "aria-label": "Number of a trial to add", autocomplete: "off" });
  const form = h("form", { class: "line", on: { submit: (event) => {
    event.preventDefault();
    const one = adding.value.trim().replace(/^#/, "");
    if (!one || trials.includes(one)) return;
    adding.value = "";
    place.go(pages.compare(id, [...trials, one]));
  } } }, adding, h("button", { type: "submit", class: "button" }, "Add trial"));
  const heading = h("h1", {}, "Compare");
  const summary = h("p", { class: "muted" });
  const body = h("div", {}, h("p", { class: "waiting" }, "Loading ..."));
  fill(place.root, h("div", { class: "head" }, h("div", {}, heading, summary), form), body);
  place.root.classList.add("compare");
  const polling = poll(ask, { failed: refused });
  name();

  function read() {
    return [...new Set(place.query.getAll("trials"))].slice(0, MOST);
  }

  function name() {
    place.title(`Compare trials ${trials.join(", ")} of ${id}`);
    place.crumbs([id, pages.trials(id)], ["Compare", pages.compare(id, trials)]);
    form.hidden = trials.length >= MOST;
  }

  async function ask(signal) {
    if (trials.length < 2) {
      few();
      return 60000;
    }
    const next = await get(api.compare(id), { trials }, signal);
    if (next !== data) {
      data = next;
      draw();
    }
    const moving = data.trials.some(({ state }) => state === "RUNNING");
    await refresh(signal);
    return moving ? undefined : 6000;
  }

  function refused(error) {
    if (error.status === 401) {
      place.fail(error);
      return;
    }
    // What stood here is gone: the next answer is drawn, even if it is one that was there before.
    data = null;
    drawn = null;
    closeCharts();
    summary.textContent = "";
    fill(body, h("pre", { class: "trouble", role: "alert" }, error.message), trials.length > 1 ? chosen() : null);
  }

  function few() {
    data = null;
    summary.textContent = "";
    fill(body, h("div", { class: "empty" }, h("h2", {}, "Choose two trials or more"),
      h("p", {}, trials.length ? `Trial ${trials[0]} is chosen. Add another one above, or` : "Add their numbers above, or", " select rows in ", link(pages.trials(id, { pick: trials }), "the table of trials"), ".")));
  }

  // After an error: the trials, each of which can be taken out.
  function chosen() {
    return h("p", { class: "line" }, trials.map((one) => button(`Remove ${one}`, () => remove(one))));
  }

  function remove(trial) {
    place.go(pages.compare(id, trials.filter((one) => one !== String(trial))));
  }

  function draw() {
    const rows = data.sections.reduce((sum, section) => sum + section.rows.length, 0);
    const code = data.code.length ? ` and the code of ${count(data.code.length, "function")}` : "";
    summary.textContent = rows || code ? `${count(rows, "value")}${code} differ${rows + data.code.length === 1 ? "s" : ""}` : "Nothing that was recorded differs";
    const text = JSON.stringify(data);
    if (text === drawn) return;
    drawn = text;
    const focus = document.activeElement?.dataset?.remove;
    closeCharts();
    const names = data.metrics.slice(0, MOST_CHARTS);
    charts = new Map(names.map((metric) => [metric, chart({
      name: metric,
      legend: true,
      load: async (part) => (await get(api.metrics(id), { trials, names: [metric], ...part })).series,
    })]));
    fill(body,
      data.notes.length ? h("div", { class: "notice" }, data.notes.map((note) => h("p", {}, note))) : null,
      data.explanation ? why(data.explanation) : null,
      h("div", { class: "scroll panel compare-frame", tabindex: "0", role: "region", "aria-label": "Differences" }, table()),
      data.same.length ? h("p", { class: "same" }, h("span", { class: "equal", "aria-hidden": "true" }, "="), " Equal: ", data.same.join(", ")) : null,
      data.code.length ? h("h2", { class: "part-title" }, "Code") : null,
      data.code.map(codeCard),
      names.length ? h("h2", { class: "part-title" }, "Metrics") : null,
      h("div", { class: "charts" }, [...charts.values()].map((one) => one.element)),
      data.metrics.length > MOST_CHARTS ? h("p", { class: "muted" }, `The first ${MOST_CHARTS} of ${data.metrics.length} metrics.`) : null);
    last = null;
    if (focus) body.querySelector(`[data-remove="${CSS.escape(focus)}"]`)?.focus();
  }

  let last = null;
  async function refresh(signal) {
    if (!charts.size) return;
    const found = await get(api.metrics(id), { trials, names: [...charts.keys()], points: 1000 }, signal);
    if (found === last) return;
    last = found;
    for (const [metric, one] of charts) {
      const series = found.series.filter((other) => other.name === metric);
      one.live(trials.map((trial) => series.find((other) => String(other.trial) === trial)).filter(Boolean));
    }
  }

  function table() {
    const size = data.trials.length;
    const row = (title, make) => h("tr", {}, h("th", { scope: "row" }, title), data.trials.map((one) => h("td", {}, make(one))));
    const faint = () => h("span", { class: "faint" }, "–");
    return h("table", { class: "plain-table compare-table" },
      h("caption", { class: "unseen" }, `What differs between trials ${trials.join(", ")}`),
      h("thead", {}, h("tr", {}, h("td"), data.trials.map((one) => h("th", { scope: "col", "data-trial": one.trial },
        h("span", { class: "line" }, link(pages.trial(id, one.trial), `Trial ${one.trial}`),
          button(h("span", { "aria-hidden": "true" }, "×"), () => remove(one.trial),
            { class: "button tiny quiet", "aria-label": `Remove trial ${one.trial}`, title: "Remove", "data-remove": one.trial }),
          badge(one.state)))))),
      h("tbody", {},
        row("Result", (one) => (one.result === null ? faint() : h("span", { class: "compare-result" }, one.result))),
        row("Started", (one) => (one.started ? time(one.started) : faint())),
        row("Duration", (one) => (one.seconds === null ? (one.state === "RUNNING" && one.started ? ticking(one.started) : faint()) : duration(one.seconds))),
        data.trials.some((one) => one.tags?.length) ? row("Tags", (one) => tags(one.tags) ?? faint()) : null,
        data.trials.some((one) => one.note) ? row("Note", (one) => one.note || faint()) : null),
      data.sections.map((section) => h("tbody", { "data-section": section.name },
        h("tr", { class: "section-row" }, h("th", { scope: "rowgroup", colspan: size + 1 }, h("span", {}, section.name))),
        section.rows.map(({ name: title, values }) => h("tr", {}, h("th", { scope: "row" }, title),
          values.map((value, i) => h("td", { class: i && value !== values[0] ? "other" : null },
            value === null ? h("span", { class: "faint" }, "absent") : h("code", { class: "value" }, value))))))));
  }

  // Of two trials: which changes moved the outputs.
  function why({ first, causes, harmless, steps, notes }) {
    const listed = (names) => names.map((name, i) => [i ? ", " : null, h("code", {}, name)]);
    const follows = steps.follows ?? [];
    return h("section", { class: "card why-card", "aria-labelledby": "why-title" },
      h("h2", { id: "why-title" }, "Why"),
      h("p", {}, first === null ? "No output of a step differs." : ["The first step whose output differs is ", h("code", { class: "why-first" }, first), "."]),
      causes.map(({ kind, name, steps: acts, change, sure, lines }) => h("div", { class: "why-cause", "data-kind": kind, "data-name": name },
        h("p", {}, h("strong", {}, kind), " ", change, acts.length ? h("span", { class: "muted" }, " in ", listed(acts)) : null,
          sure ? null : h("span", { class: "muted" }, " (its inputs differ, too)")),
        lines.length ? diffBlock(lines, `Difference of ${name}`) : null)),
      follows.length ? h("p", { class: "muted" }, "Only because their inputs differ: ", listed(follows)) : null,
      harmless.length ? h("p", { class: "muted" }, "Changed without effect: ", harmless.join("; ")) : null,
      notes.length ? h("p", { class: "muted" }, "Not compared: ", notes.join("; ")) : null);
  }

  function codeCard({ step, function: called, what, diffs }) {
    return h("section", { class: "card code-card", "data-step": step },
      h("h3", {}, step, called && called !== step ? h("span", { class: "muted" }, ` ${called}`) : null),
      what ? h("p", { class: "muted" }, what) : null,
      diffs.map(({ trial, lines }) => h("div", {},
        h("p", { class: "small" }, h("span", { class: "taken-text" }, `− trial ${data.trials[0].trial}`), "  ", h("span", { class: "added-text" }, `+ trial ${trial}`)),
        diffBlock(lines, `Difference of ${step} in trial ${trial}`))));
  }

  function closeCharts() {
    for (const one of charts.values()) one.close();
    charts.clear();
  }

  return {
    close() {
      polling.stop();
      closeCharts();
    },
    turned() {
      trials = read();
      drawn = null;
      name();
      polling.now();
    },
    keys: [
      { key: "/", does: "Add a trial", run: () => adding.focus() },
    ],
  };
}
