// The dialog in which the columns of the table are chosen.

import { button, fill, h } from "./dom.js";
import { count } from "./format.js";
import { openDialog } from "./keys.js";
import { label } from "./table.js";

const MOST_SHOWN = 3000;

// `lists` is [{title, names, chosen (array), change(array)}]; `reset` brings back the default.
export function chooseColumns(lists, reset) {
  const search = h("input", {
    type: "search", class: "wide-input", placeholder: "Find a column", "aria-label": "Find a column",
    autocomplete: "off", spellcheck: "false",
  });
  const groups = lists.filter(({ names }) => names.length).map(group);
  const foot = h("p", { class: "muted small", role: "status" });
  const list = h("div", { class: "choices", tabindex: "-1" }, groups.map(({ element }) => element));
  const dialog = openDialog("Columns", search, list, h("div", { class: "dialog-foot" }, foot,
    button("Reset to default", () => {
      reset();
      dialog.close();
    })));
  dialog.classList.add("chooser");

  function filter() {
    const wanted = search.value.trim().toLowerCase();
    let found = 0;
    for (const one of groups) found += one.filter(wanted);
    foot.textContent = wanted ? count(found, "column") : "";
  }
  search.addEventListener("input", filter);
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const boxes = [search, ...list.querySelectorAll("label:not([hidden]) input")];
    const at = boxes.indexOf(document.activeElement);
    boxes[at + (event.key === "ArrowDown" ? 1 : -1)]?.focus();
    event.preventDefault();
  });
  search.focus();
}

function group({ title, names, chosen, change }) {
  const picked = new Set(chosen);
  const heading = h("h3", {}, title);
  const tell = () => fill(heading, title, " ", h("span", { class: "muted" }, `${picked.size} of ${names.length}`));
  // Those that are chosen stand first, in their order.
  const sorted = [...chosen, ...names.filter((name) => !picked.has(name))];
  const choices = sorted.slice(0, MOST_SHOWN).map((name) => {
    const box = h("input", { type: "checkbox", checked: picked.has(name), on: { change: () => {
      if (box.checked) picked.add(name);
      else picked.delete(name);
      tell();
      change([...picked]);
    } } });
    return { text: `${name} ${label(name)}`.toLowerCase(), element: h("label", { class: "choice" }, box, h("span", {}, label(name))) };
  });
  tell();
  const element = h("section", {}, heading, choices.map((choice) => choice.element));
  return {
    element,
    filter(wanted) {
      let found = 0;
      for (const choice of choices) {
        const fits = choice.text.includes(wanted);
        choice.element.hidden = !fits;
        found += fits;
      }
      element.hidden = found === 0;
      return found;
    },
  };
}
