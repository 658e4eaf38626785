// Files that were kept with a trial.

import { get } from "../api.js";
import { button, fill, h, trouble } from "../dom.js";
import { bytes } from "../format.js";
import { api, withQuery } from "../urls.js";

export function artifacts({ id, n, root, trial }) {
  let drawn = null;

  function update(next) {
    const text = JSON.stringify(next.artifacts);
    if (text === drawn) return;
    drawn = text;
    if (!next.artifacts.length) {
      fill(root, h("div", { class: "empty" }, h("h2", {}, "No artifacts"),
        h("p", {}, "Keep a file or an object with the trial, from within a step:"),
        h("pre", { class: "sample" }, 'ex.save_artifact("model", model)')));
      return;
    }
    fill(root, h("div", { class: "artifacts" }, next.artifacts.map(card)));
  }

  function card(one) {
    const address = withQuery(api.trial(id, n, "artifact"), { name: one.name });
    const gone = one.kind === "gone";
    const head = h("div", { class: "artifact-head" },
      h("div", {}, h("h3", {}, one.name), h("p", { class: "muted small" }, [one.type, bytes(one.size)].filter(Boolean).join(", "))),
      gone ? null : h("a", { class: "button", href: address, download: one.name.split("/").at(-1), "aria-label": `Download ${one.name}` }, "Download"));
    const body = h("div");
    if (gone) fill(body, h("p", { class: "muted" }, "The file is not there any more."));
    if (one.kind === "image") {
      const image = h("img", { src: address, alt: one.name, loading: "lazy" });
      image.addEventListener("error", () => fill(body, h("p", { class: "muted" }, "The image cannot be shown.")));
      fill(body, h("a", { href: address, class: "image" }, image));
    }
    if (one.kind === "text") fill(body, button("Show the text", () => preview(one, body), { "aria-label": `Show the text of ${one.name}` }));
    return h("div", { class: `card artifact ${one.kind === "image" ? "image-card" : ""}`, "data-artifact": one.name }, head, body);
  }

  async function preview({ name }, body) {
    try {
      const { text, cut } = await get(api.trial(id, n, "artifact"), { name, as: "text" });
      fill(body, h("pre", { class: "code text", tabindex: "0", "aria-label": name }, text),
        cut ? h("p", { class: "muted small" }, "This is the beginning. Download the file to read all of it.") : null);
    } catch (error) {
      trouble(body, error);
    }
  }

  update(trial);
  return { update };
}
