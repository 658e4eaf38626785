// The ranges by which trials are chosen: what is written of them, and fields to set them by
// keyboard.

import { arrange, button, fill, h, say } from "../dom.js";
import { cut } from "./plane.js";

const MOST_BOXES = 60;

export function rangeFields({ mark, clear }) {
  const tags = h("span", { class: "picked-list" });
  const none = h("span", { class: "muted small" }, "Drag along an axis to choose trials.");
  const all = button("Clear all", () => clear(), { class: "button quiet tiny", title: "Clear all ranges (Escape)" });
  const fields = h("div", { class: "range-fields" });
  const details = h("details", { class: "values" }, h("summary", {}, "Choose ranges by values"), fields);
  details.addEventListener("toggle", () => draw());
  const element = h("div", { class: "ranges" }, h("div", { class: "range-tags" }, tags, none, all), details);
  const known = new Map();
  let shown = null;

  function show(axes, ranges) {
    shown = { axes, ranges };
    draw();
  }

  function draw() {
    if (!shown) return;
    const { axes, ranges } = shown;
    const active = axes.filter((axis) => ranges.has(axis.id));
    none.hidden = active.length > 0;
    all.hidden = active.length === 0;
    fill(tags, active.map((axis) => {
      const text = `${axis.name}: ${axis.scale.tell(ranges.get(axis.id))}`;
      return button([h("span", {}, cut(text, 40)), h("span", { "aria-hidden": "true", class: "faint" }, "×")],
        () => mark(axis.id, null, true), { class: "tag", title: text, "aria-label": `Clear ${text}` });
    }));
    if (details.open) arrange(fields, axes.map(fieldOf));
  }

  function fieldOf(axis) {
    const text = JSON.stringify([axis.name, axis.scale.kind, axis.scale.keys]);
    let entry = known.get(axis.id);
    if (entry?.text !== text) {
      entry = { text, ...(axis.scale.kind === "number" ? numbers(axis) : boxes(axis)) };
      known.set(axis.id, entry);
    }
    entry.set(shown.ranges.get(axis.id) ?? null);
    return entry.element;
  }

  function numbers(axis) {
    const field = (word) => h("input", { type: "text", class: "short-input", inputmode: "decimal", autocomplete: "off", "aria-label": `${axis.name} ${word}`, placeholder: word, on: { change } });
    const [from, to] = [field("from"), field("to")];
    const read = (input) => (input.value.trim() === "" || !Number.isFinite(Number(input.value)) ? null : Number(input.value));
    function change() {
      const range = { from: read(from), to: read(to) };
      mark(axis.id, range.from === null && range.to === null ? null : range, true);
    }
    return {
      element: h("fieldset", { class: "range-field" }, h("legend", { title: axis.name }, axis.name), from, to),
      set(range) {
        for (const [input, value] of [[from, range?.from], [to, range?.to]]) {
          if (document.activeElement !== input) input.value = value ?? "";
        }
      },
    };
  }

  function boxes(axis) {
    const all_ = axis.scale.keys.slice(0, MOST_BOXES).map((key, i) => {
      const box = h("input", { type: "checkbox", on: { change } });
      return { key, box, element: h("label", { class: "choice" }, box, h("span", { class: "clip", title: axis.scale.texts[i] }, axis.scale.texts[i])) };
    });
    function change() {
      const of = all_.filter(({ box }) => box.checked).map(({ key }) => key);
      mark(axis.id, of.length ? { of } : null, true);
    }
    const more = axis.scale.keys.length - all_.length;
    return {
      element: h("fieldset", { class: "range-field" }, h("legend", { title: axis.name }, axis.name), all_.map((one) => one.element),
        more > 0 ? h("span", { class: "muted small" }, `and ${more} more, on the axis`) : null),
      set(range) {
        for (const { key, box } of all_) box.checked = Boolean(range?.of.includes(key));
      },
    };
  }

  return { element, show, say: (text) => say(none, text) };
}
