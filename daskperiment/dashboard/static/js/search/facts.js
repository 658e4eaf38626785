// What stands above the charts of a search, and in the list of searches: its state and trials.

import { h, link } from "../dom.js";
import { count, integer, number, plain } from "../format.js";
import { pages } from "../urls.js";

const MOST = 12;
// Parts of an address that mean something else than a name.
const ODD = new Set([".", ".."]);

export function addressOf(experiment, { search, uid }) {
  return pages.search(experiment, ODD.has(search) ? uid : search);
}

export function samplerText(sampler) {
  if (typeof sampler !== "object" || sampler === null) return plain(sampler);
  const { name, ...options } = sampler;
  const texts = Object.entries(options).filter(([key, value]) => key !== "own" && value !== null).map(([key, value]) => `${key}=${plain(value)}`);
  return texts.length ? `${plain(name)} (${texts.join(", ")})` : plain(name);
}

export function metricText({ name, direction }) {
  return `${direction} ${name}`;
}

const KINDS = [["good", "complete", "complete"], ["calm", "pruned", "pruned"], ["bad", "failed", "failed"], ["busy", "running", "running"]];

export function progress(search) {
  const total = Math.max(search.n_trials ?? 0, search.trials);
  const ended = search.trials - search.running;
  const text = search.n_trials ? `${integer(ended)} of ${count(search.n_trials, "trial")} ended` : `${count(ended, "trial")} ended`;
  return [
    h("div", { class: "bar", role: "progressbar", "aria-label": `Trials of ${search.search}`, "aria-valuemin": "0", "aria-valuemax": String(total),
      "aria-valuenow": String(ended), "aria-valuetext": text },
    KINDS.map(([tone, field]) => (search[field] ? h("span", { class: `bar-part ${tone}`, style: { width: `${(100 * search[field]) / total}%` } }) : null))),
    h("ul", { class: "bar-legend" },
      KINDS.filter(([, field]) => search[field]).map(([tone, field, word]) => h("li", { class: tone }, h("span", { class: "dot", "aria-hidden": "true" }), `${integer(search[field])} ${word}`)),
      h("li", { class: "muted" }, search.n_trials ? `of ${integer(search.n_trials)}` : count(search.trials, "trial"))),
  ];
}

export function bestOf(experiment, { best, pareto, main }) {
  if (best) return [h("b", {}, number(best.value)), " in ", link(pages.trial(experiment, best.trial), `trial ${best.trial}`)];
  if (pareto?.length) return `${integer(pareto.length)} on the Pareto front`;
  return h("span", { class: "faint" }, main === null ? "no trial with all values yet" : "no value yet");
}

// The same in large, with the parameters.
export function bestParts(experiment, { best, pareto, main }) {
  const trial = (one, text) => link(pages.trial(experiment, one), text);
  if (main === null) {
    const numbers = pareto ?? [];
    if (!numbers.length) return h("p", { class: "muted" }, "No trial with all values yet");
    return [h("p", { class: "result" }, integer(numbers.length)),
      h("p", { class: "muted" }, `${numbers.length === 1 ? "trial" : "trials"} that none is better than in all metrics`),
      h("p", {}, numbers.slice(0, MOST).map((one) => [trial(one, String(one)), " "]), numbers.length > MOST ? "..." : null)];
  }
  if (!best) return h("p", { class: "muted" }, "No trial with a value yet");
  return [h("p", { class: "result", "data-best": best.trial }, number(best.value)), h("p", {}, "in ", trial(best.trial, `trial ${best.trial}`)),
    h("dl", { class: "details" }, Object.entries(best.parameters).map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, plain(value)))))];
}
