// Source code with the colours of the server's tokens, and line numbers that are not copied.

import { button, h } from "./dom.js";

const CLASSES = new Set(["k", "s", "n", "c", "o", "nf", "nc", "nd", "nb", "e"]);

export function codeBlock(tokens, name) {
  const lines = split(tokens).map((line) => h("span", { class: "code-line" },
    line.map(([kind, text]) => (CLASSES.has(kind) ? h("span", { class: `t-${kind}` }, text) : text)), "\n"));
  const text = tokens.map(([, part]) => part).join("");
  return h("div", { class: "code-box" }, copyButton(text, name),
    h("pre", { class: "code", tabindex: "0", "aria-label": name }, h("code", {}, lines)));
}

function split(tokens) {
  const lines = [[]];
  for (const [kind, text] of tokens) {
    text.split("\n").forEach((part, i) => {
      if (i) lines.push([]);
      if (part) lines.at(-1).push([kind, part]);
    });
  }
  if (lines.length > 1 && !lines.at(-1).length) lines.pop();
  return lines;
}

export function copyButton(text, name) {
  const one = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text);
      one.textContent = "Copied";
    } catch {
      one.textContent = "Not allowed";
    }
    setTimeout(() => { one.textContent = "Copy"; }, 1500);
  }, { class: "button tiny copy", "aria-label": `Copy ${name}` });
  return one;
}

// A difference: lines of [sign, text].
export function diffBlock(lines, name) {
  const kinds = { "+": "added", "-": "taken", "@": "place", " ": "kept" };
  return h("pre", { class: "code diff", tabindex: "0", "aria-label": name }, h("code", {},
    lines.map(([sign, text]) => h("span", { class: `diff-line ${kinds[sign] ?? "kept"}` },
      h("span", { class: "diff-sign" }, sign === "@" ? " " : sign), text, "\n"))));
}
