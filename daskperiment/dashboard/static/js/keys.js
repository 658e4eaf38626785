// Keys of the page that is shown, and the dialog that lists them.

import { button, fill, h } from "./dom.js";

let keys = [];
const COMMON = [
  { key: "?", does: "Show this help" },
  { key: "Esc", does: "Close a panel, or leave a field" },
  { key: "Tab", does: "Go to the next button or link" },
];

// Entries are {key, does, run}; `run` gets the event.
export function setKeys(entries) {
  keys = entries;
}

function writing(target) {
  return target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName) ||
    (target.tagName === "INPUT" && !/^(checkbox|radio|button)$/.test(target.type));
}

function pressed(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  if (writing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "?") {
    event.preventDefault();
    help();
    return;
  }
  const entry = keys.find(({ key }) => key === event.key);
  if (!entry?.run) return;
  if (entry.run(event) !== false) event.preventDefault();
}

function help() {
  const rows = [...keys.filter(({ does }) => does), ...COMMON].map(({ key, does }) =>
    h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, does)));
  openDialog("Keyboard", h("table", { class: "keys" }, h("tbody", {}, rows)));
}

// A dialog with a title and a way out; returns it.
export function openDialog(title, ...content) {
  const dialog = h("dialog", { "aria-label": title });
  const close = () => dialog.close();
  fill(
    dialog,
    h("div", { class: "dialog-head" }, h("h2", {}, title), button("Close", close, { class: "button quiet" })),
    content,
  );
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function listen() {
  document.addEventListener("keydown", pressed);
  document.getElementById("help").addEventListener("click", help);
}
