// Numbers, durations, times and values as text, and the elements that show them.

import { h, say } from "./dom.js";

const whole = new Intl.NumberFormat("en");
const exact = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "long" });
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

export function count(number, one, many = `${one}s`) {
  return `${whole.format(number)} ${number === 1 ? one : many}`;
}

export function integer(number) {
  return whole.format(number);
}

export function number(value) {
  if (typeof value !== "number") return String(value ?? "");
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) {
    return value.toExponential(4).replace(/\.?0+e/, "e").replace("e+", "e");
  }
  return String(Number(value.toPrecision(6)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (typeof seconds !== "number") return String(seconds);
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.9995) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const all = Math.round(seconds);
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  const minutes = Math.round(all / 60);
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor((minutes % 1440) / 60)} h`;
}

export function bytes(size) {
  if (size === null || size === undefined) return "";
  if (size < 1000) return count(size, "byte");
  const units = ["kB", "MB", "GB", "TB"];
  let value = size / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${Number(value.toPrecision(3))} ${units[unit]}`;
}

export function percent(value) {
  return `${number(Math.round(value * 10) / 10)} %`;
}

function relative(moment) {
  const seconds = (Date.now() - moment) / 1000;
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 7 * 86400) return `${count(Math.floor(seconds / 86400), "day")} ago`;
  return day.format(moment);
}

export function moment(text) {
  const at = Date.parse(text);
  return Number.isNaN(at) ? String(text) : exact.format(at);
}

export function time(text) {
  const at = Date.parse(text ?? "");
  if (Number.isNaN(at)) return h("span", {}, text ?? "");
  return h("time", { datetime: text, title: exact.format(at) }, relative(at));
}

// A duration that grows with each second.
export function ticking(started) {
  const element = h("span", { "data-since": started, class: "ticking" });
  tick(element);
  return element;
}

// How long the rest takes if it goes on as until now: the time since then by a factor.
export function ticksLeft(started, factor) {
  const element = h("span", { "data-since": started, "data-factor": factor, class: "ticking" });
  tick(element);
  return element;
}

function tick(element) {
  const { since, factor } = element.dataset;
  const passed = Math.max(0, (Date.now() - Date.parse(since)) / 1000);
  const seconds = Math.floor(factor === undefined ? passed : passed * factor);
  say(element, seconds < 60 ? `${seconds} s` : duration(seconds));
}

setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[datetime]")) {
    say(element, relative(Date.parse(element.dateTime)));
  }
  for (const element of document.querySelectorAll("[data-since]")) tick(element);
}, 1000);

// Plain data as Python would write it.
export function plain(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "number") return number(value);
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return `[${value.map(quoted).join(", ")}]`;
  if (typeof value.preview === "string" && Object.keys(value).length === 1) return value.preview;
  const entries = Object.entries(value).map(([key, item]) => `${quoted(key)}: ${quoted(item)}`);
  return `{${entries.join(", ")}}`;
}

function quoted(value) {
  return typeof value === "string" ? JSON.stringify(value) : plain(value);
}

const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

export function stripAnsi(text) {
  return text.includes("\u001b") ? text.replace(ESCAPES, "") : text;
}
