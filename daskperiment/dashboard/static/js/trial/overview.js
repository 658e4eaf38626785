// Result or failure, parameters, and where and how the trial ran.

import { copyButton } from "../code.js";
import { fill, h, link } from "../dom.js";
import { count, integer, moment, number, plain } from "../format.js";
import { pages, section } from "../urls.js";

export function overview({ root, trial }) {
  const slots = [];
  // Each card is made anew only if its own facts changed, which keeps focus and selected text.
  function slot(make, facts) {
    const element = h("div", { class: "slot" });
    let known = null;
    slots.push((next) => {
      const now = JSON.stringify(facts(next));
      if (now !== known) fill(element, make(next));
      known = now;
    });
    return element;
  }

  fill(root, slot(forgotten, (one) => one.forgotten),
    slot(failure, (one) => [one.failure, one.traceback, one.state]),
    h("div", { class: "columns" },
      h("div", { class: "column" },
        slot(result, (one) => [one.result, one.state]),
        slot(parameters, (one) => one.parameters),
        slot(metrics, (one) => one.metrics)),
      h("div", { class: "column side" }, slot(details, (one) => ({ ...one, metrics: null, parameters: null })))));
  function update(next) {
    for (const change of slots) change(next);
  }
  update(trial);
  return { update };
}

function forgotten({ forgotten: parts }) {
  if (!parts?.length) return null;
  return h("p", { class: "notice" }, `Of this trial was forgotten: ${parts.join(", ")}.`);
}

function failure({ failure: message, traceback, state }) {
  if (!message && !traceback && state !== "CRASHED") return null;
  const text = message ?? (state === "CRASHED" ? "The process ended without a word." : "");
  const title = { CRASHED: "Crash", PRUNED: "Pruned" }[state] ?? "Failure";
  return h("div", { class: state === "PRUNED" ? "card ending" : "card ending failure" },
    h("h2", {}, title),
    h("p", { class: "failure-text" }, text),
    traceback ? h("div", { class: "code-box" }, copyButton(traceback, "the traceback"),
      h("pre", { class: "code traceback", tabindex: "0", "aria-label": "Traceback" }, traceback)) : null);
}

function result({ result: value, state }) {
  const ended = state !== "RUNNING" && state !== "WAITING";
  if (!value) {
    return h("div", { class: "card" }, h("h2", {}, "Result"),
      h("p", { class: "muted" }, ended ? "This trial has no result." : "There is no result until the trial ends."));
  }
  const text = "value" in value && typeof value.value === "number" ? plain(value.value) : value.preview ?? plain(value.value);
  return h("div", { class: "card" }, h("h2", {}, "Result"),
    h("p", { class: text.length > 40 ? "result long" : "result", title: value.preview }, text),
    h("p", { class: "muted small" }, [value.type, value.reason].filter(Boolean).join(", ")));
}

function parameters({ parameters: all }) {
  if (!all.length) {
    return h("div", { class: "card" }, h("h2", {}, "Parameters"),
      h("p", { class: "muted" }, "None. Declare one and use it in a step: ", h("code", {}, 'a = ex.parameter("a")')));
  }
  return h("div", { class: "card" }, h("h2", {}, "Parameters"),
    h("div", { class: "scroll" }, h("table", { class: "plain-table" },
      h("caption", { class: "unseen" }, "Parameters"),
      h("thead", {}, h("tr", {}, ["Name", "Value", "Type"].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, all.map((one) => h("tr", { "data-parameter": one.name },
        h("th", { scope: "row" }, one.name),
        h("td", {}, h("code", { class: "value" }, one.preview ?? plain(one.value)),
          one.reason ? h("div", { class: "muted small" }, one.reason) : null),
        h("td", { class: "muted" }, one.type)))))));
}

function metrics({ metrics: all }) {
  if (!all.length) return null;
  const heads = ["Metric", "Last", "Lowest", "Highest", "Points"];
  return h("div", { class: "card" }, h("h2", {}, link(section("metrics"), "Metrics")),
    h("div", { class: "scroll" }, h("table", { class: "plain-table" },
      h("caption", { class: "unseen" }, "Metrics"),
      h("thead", {}, h("tr", {}, heads.map((head, i) => h("th", { scope: "col", class: i ? "number" : null }, head)))),
      h("tbody", {}, all.slice(0, 20).map((one) => h("tr", {},
        h("th", { scope: "row" }, link(section("metrics", one.name), one.name)),
        [number(one.last), number(one.min), number(one.max), integer(one.points)].map((text) => h("td", { class: "number" }, text))))))),
    all.length > 20 ? h("p", { class: "small" }, link(section("metrics"), `All ${all.length} metrics`)) : null);
}

function details(trial) {
  const { git, steps } = trial;
  const ran = [steps.ran && `${steps.ran} ran`, steps.reused && `${steps.reused} reused`, steps.failed && `${steps.failed} failed`, steps.pruned && `${steps.pruned} pruned`].filter(Boolean);
  const rows = [
    ["Steps", ran.length ? link(section("graph"), ran.join(", ")) : null],
    ["Search", trial.search && [link(pages.search(trial.experiment, trial.search.name), trial.search.name), `, place ${integer(trial.search.place)}`]],
    ["Started", trial.started && moment(trial.started)],
    ["Finished", trial.finished && moment(trial.finished)],
    ["Seed", trial.seed === null ? "None" : h("code", {}, String(trial.seed))],
    ["Commit", git && h("code", {}, git.commit)],
    ["Branch", git?.branch],
    ["Working tree", git && (git.dirty ? "with changes that were not committed" : "clean")],
    ["Python", trial.python],
    ["User", trial.user],
    ["Host", trial.host],
    ["Process", trial.pid],
    ["Artifacts", trial.artifacts.length ? link(section("artifacts"), count(trial.artifacts.length, "file")) : null],
    ["Identity", h("code", {}, trial.uid)],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
  return h("div", { class: "card" }, h("h2", {}, "Details"),
    h("dl", { class: "details" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))));
}
