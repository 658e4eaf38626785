// Stands where a page cannot be shown: there is none, or the token is missing.

import { fill, h, link } from "../dom.js";
import { pages } from "../urls.js";

export function open(place, error) {
  const [title, ...text] = content(error);
  place.title(`${title} - daskperiment`);
  place.crumbs([title, location.pathname]);
  fill(place.root, h("div", { class: "empty" }, h("h1", {}, title), text));
}

function content(error) {
  if (error?.status === 401) {
    return [
      "This dashboard needs its token",
      h("p", {}, "Open the link that the command ", h("code", {}, "daskperiment dashboard"), " printed in its terminal. It holds the token, and this browser remembers it from then on."),
      h("pre", { class: "sample" }, `${location.origin}/?token=...`),
    ];
  }
  const back = h("p", {}, link(pages.experiments(), "Go to the experiments"));
  if (error && error.status !== 404) {
    return ["This page cannot be shown", h("pre", { class: "trouble", role: "alert" }, error.message), back];
  }
  return [
    "There is nothing here",
    h("p", {}, error?.message ?? "No page has this address."),
    back,
  ];
}
