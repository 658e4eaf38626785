// The theme switch, and the colours of the theme for what is drawn on a canvas.

const KEY = "daskperiment.theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const watchers = new Set();

export function onTheme(watcher) {
  watchers.add(watcher);
  return () => watchers.delete(watcher);
}

function tell() {
  for (const watcher of watchers) watcher();
}

function chosen() {
  return document.documentElement.dataset.theme ?? "auto";
}

function choose(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "auto") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // Without storage the choice lasts until the page is left.
  }
  tell();
}

export function startTheme() {
  for (const radio of document.querySelectorAll("#theme input")) {
    radio.checked = radio.value === chosen();
    radio.addEventListener("change", () => choose(radio.value));
  }
  dark.addEventListener("change", tell);
}

// A variable may hold light-dark(...), which only the style of an element resolves.
export function colour(name) {
  const probe = document.getElementById("announcements");
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.style.color = "";
  return found;
}
