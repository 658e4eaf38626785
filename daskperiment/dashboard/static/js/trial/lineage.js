// What a node of the graph descends from and what descends from it, in this trial and in others.
// Asked for only when somebody looks.

import { get } from "../api.js";
import { badge } from "../badge.js";
import { button, fill, h, link, newId } from "../dom.js";
import { count, integer } from "../format.js";
import { api, pages, section } from "../urls.js";

const SHOWN = 6;
const FURTHER = 5;
const MOST = 10000;

// `drawn(entry)` is the id of the node in the graph that shows an entry, if there is one.
export function lineage({ id, n, node, drawn }) {
  const asked = node.kind === "parameter" ? { parameter: node.name } : { step: node.name, call: node.call };
  const inside = h("div", { class: "kinship" }, waiting());
  const outside = h("div", { class: "kinship" });
  let shown = null;
  again();
  if (node.kind === "step") look();

  // Of a trial that runs there is more after a while; what is equal stays as it is.
  function again() {
    get(api.trial(id, n, "lineage"), asked).then((found) => {
      if (found !== shown) fill(inside, list("Descends from", found.above, "Nothing."), list("Descendants", found.below, "None in this trial."));
      shown = found;
    }, (error) => fill(inside, refused(error)));
  }

  function look(most) {
    const title = h("h3", {}, "In other trials");
    fill(outside, title, waiting());
    get(api.trial(id, n, "takers"), { ...asked, most }).then((found) => fill(outside, title, takers(found)),
      (error) => fill(outside, title, refused(error)));
  }

  function list(title, { entries, calls, parameters, left_out: omitted }, nothing) {
    const name = newId("kin");
    const counted = [calls && count(calls, "call"), parameters && count(parameters, "parameter")].filter(Boolean);
    const shown = h("ul", { class: "kin", "aria-labelledby": name }, entries.slice(0, SHOWN).map(entry));
    const rest = entries.slice(SHOWN);
    const more = button(`Show ${integer(rest.length)} more`, () => {
      const items = rest.map(entry);
      shown.append(...items);
      more.remove();
      items[0].querySelector("a")?.focus();
    }, { class: "button tiny" });
    return h("section", { "data-kin": title },
      h("h3", { id: name }, title, h("span", { class: "kin-count" }, counted.join(", "))),
      entries.length ? shown : h("p", { class: "muted" }, nothing),
      rest.length ? more : null,
      omitted ? h("p", { class: "muted small" }, `${integer(omitted)} others are not listed.`) : null);
  }

  function entry(one) {
    const { kind, name, call, calls, outcome, preview, output } = one;
    const text = kind === "parameter" ? name : calls > 1 ? `${name} × ${integer(calls)}` : call === null ? name : `${name}[${call}]`;
    const there = drawn(one);
    return h("li", { "data-kin-name": name },
      h("span", { class: "line" },
        there === undefined ? h("span", {}, text) : link(pages.trial(id, n, section("graph", there)), text),
        kind === "parameter" ? h("span", { class: "muted small" }, "parameter") : null,
        outcome && outcome !== "ran" ? badge(outcome) : null),
      preview ? h("code", { class: "value", title: preview }, preview) : null,
      output ? h("code", { class: "digest", title: output }, output.slice(0, 12)) : null);
  }

  function takers({ trials, looked, left }) {
    return [
      trials.length ? h("ul", { class: "kin" }, trials.map(taker))
        : h("p", { class: "muted" }, left ? "None of those that were looked at has taken its output." : "None has taken its output."),
      left ? h("p", { class: "muted small", role: "status" },
        `Not complete: ${count(looked, "trial was", "trials were")} looked at, ${integer(left)} more may have taken it. `,
        looked < MOST ? button("Look further", () => look(Math.min(MOST, Math.max(1, FURTHER * looked))), { class: "button tiny" }) : null) : null,
    ];
  }

  function taker({ trial, state, calls, left_out: omitted, result }) {
    return h("li", { "data-taker": trial },
      h("span", { class: "line" }, link(pages.trial(id, trial, section("graph")), `Trial ${trial}`), badge(state)),
      h("span", { class: "small" }, `${calls.join(", ")}${omitted ? ` and ${count(omitted, "other")}` : ""}`),
      result === null ? null : h("span", { class: "small" }, "Result ", h("code", { class: "value", title: result }, result)));
  }

  return { element: h("div", { class: "lineage" }, inside, outside), again };
}

function waiting() {
  return h("p", { class: "muted" }, "Looking ...");
}

function refused(error) {
  return h("p", { class: "muted" }, `Cannot be shown: ${error.message}`);
}
