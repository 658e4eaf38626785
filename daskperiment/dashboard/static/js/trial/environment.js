// The environment of a trial by category.

import { get } from "../api.js";
import { fill, h, trouble } from "../dom.js";
import { count } from "../format.js";
import { api } from "../urls.js";

export function environment({ id, n, root }) {
  const abort = new AbortController();
  const search = h("input", { type: "search", placeholder: "Find a name or a value", "aria-label": "Find in the environment", autocomplete: "off", spellcheck: "false" });
  const found = h("span", { class: "muted", role: "status" });
  fill(root, h("p", { class: "waiting" }, "Loading ..."));
  let groups = [];
  load();

  async function load() {
    try {
      show(await get(api.trial(id, n, "environment"), null, abort.signal));
    } catch (error) {
      if (error.name !== "AbortError") trouble(root, error);
    }
  }

  function show({ summary, categories }) {
    if (!categories.length) {
      fill(root, h("div", { class: "empty" }, h("h2", {}, "No environment"), h("p", {}, "The environment of this trial was not recorded, or it was forgotten.")));
      return;
    }
    groups = categories.map(group);
    search.addEventListener("input", filter);
    fill(root, h("div", { class: "tools" }, search, found),
      summary.length ? h("ul", { class: "card summary" }, summary.map(line)) : null,
      groups.map(({ element }) => element));
  }

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let all = 0;
    for (const one of groups) all += one.filter(wanted);
    found.textContent = wanted ? count(all, "entry", "entries") : "";
  }
  return { close: () => abort.abort() };
}

function line(text) {
  const at = text.indexOf(": ");
  return at < 0 ? h("li", {}, text) : h("li", {}, h("span", { class: "muted" }, text.slice(0, at + 1)), text.slice(at + 1));
}

function group({ name, entries }) {
  const rows = entries.map(([key, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return { text: `${name}.${key} ${text}`.toLowerCase(), element: h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, h("code", { class: "value" }, text))) };
  });
  const small = entries.length <= 40;
  const element = h("details", { class: "card category", open: small, "data-category": name },
    h("summary", {}, name, " ", h("span", { class: "muted" }, String(entries.length))),
    h("div", { class: "scroll" }, h("table", { class: "plain-table" }, h("caption", { class: "unseen" }, name), h("tbody", {}, rows.map((row) => row.element)))));
  return {
    element,
    filter(wanted) {
      let found = 0;
      for (const row of rows) {
        const fits = row.text.includes(wanted);
        row.element.hidden = !fits;
        found += fits;
      }
      element.hidden = found === 0;
      element.open = wanted ? found > 0 : small;
      return found;
    },
  };
}
