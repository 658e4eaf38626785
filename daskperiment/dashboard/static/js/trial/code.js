// The code of the steps, and whole files on demand.

import { get } from "../api.js";
import { codeBlock } from "../code.js";
import { fill, h, trouble } from "../dom.js";
import { api } from "../urls.js";

export function code({ id, n, root }) {
  const abort = new AbortController();
  fill(root, h("p", { class: "waiting" }, "Loading ..."));
  load();

  async function load() {
    try {
      show(await get(api.trial(id, n, "code"), null, abort.signal));
    } catch (error) {
      if (error.name !== "AbortError") trouble(root, error);
    }
  }

  function show({ steps, files, note }) {
    if (!steps.length && !files.length) {
      fill(root, h("div", { class: "empty" }, h("h2", {}, "No code"), h("p", {}, note ?? "No code was recorded for this trial.")));
      return;
    }
    fill(root, note ? h("p", { class: "notice" }, note) : null,
      h("h2", { class: "part-title" }, "Steps"),
      steps.map(({ step, tokens }) => h("section", { class: "card code-card", "data-step": step }, h("h3", {}, step),
        tokens ? codeBlock(tokens, `code of ${step}`) : h("p", { class: "muted" }, "The code of this step is not there."))),
      files.length ? h("h2", { class: "part-title" }, "Files") : null,
      files.map(file));
  }

  function file(name) {
    const body = h("div");
    const element = h("details", { class: "card code-card file" }, h("summary", {}, name), body);
    let loaded = false;
    element.addEventListener("toggle", async () => {
      if (!element.open || loaded) return;
      loaded = true;
      fill(body, h("p", { class: "waiting" }, "Loading ..."));
      try {
        const { tokens } = await get(api.trial(id, n, "file"), { name }, abort.signal);
        fill(body, tokens ? codeBlock(tokens, name) : h("p", { class: "muted" }, "The text of this file is not there."));
      } catch (error) {
        loaded = false;
        if (error.name !== "AbortError") fill(body, h("pre", { class: "trouble" }, error.message));
      }
    });
    return element;
  }

  return { close: () => abort.abort() };
}
