// Builds elements.  Texts become text nodes and attributes come from a list, so that nothing
// which was fetched can become markup, script, style or a link to another site.

const ATTRIBUTES = new Set([
  "id", "class", "role", "type", "name", "value", "for", "title", "tabindex", "alt", "download",
  "datetime", "scope", "colspan", "placeholder", "autocomplete", "spellcheck", "loading",
  "inputmode", "enterkeyhint", "maxlength", "method", "rel", "list", "dir", "min", "step",
]);
const PROPERTIES = new Set([
  "checked", "disabled", "hidden", "open", "indeterminate", "selected", "required",
]);
const SHAPES = new Set([
  "viewBox", "d", "points", "cx", "cy", "r", "x", "y", "x1", "x2", "y1", "y2", "width", "height",
  "fill", "stroke", "preserveAspectRatio", "transform", "focusable",
]);
const SVG = "http://www.w3.org/2000/svg";

export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) set(element, name, value);
  append(element, children);
  return element;
}

export function svg(tag, props, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (SHAPES.has(name)) element.setAttribute(name, String(value));
    else set(element, name, value);
  }
  append(element, children);
  return element;
}

function set(element, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (name === "on") {
    for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
  } else if (name === "style") {
    for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
  } else if (name === "href") {
    element.setAttribute("href", own(value));
  } else if (name === "src") {
    if (!value.startsWith("/api/")) throw new Error("Images come from the API only");
    element.setAttribute("src", value);
  } else if (PROPERTIES.has(name)) {
    element[name] = Boolean(value);
  } else if (ATTRIBUTES.has(name) || name.startsWith("aria-") || name.startsWith("data-")) {
    element.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
  } else {
    throw new Error(`The attribute ${name} is not allowed`);
  }
}

// An address of this server, by which the page cannot be left.
function own(address) {
  const inside = address.startsWith("#") || /^\/(?![/\\])/.test(address);
  if (!inside) throw new Error("Links go to pages of this server only");
  return address;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

export function fill(element, ...children) {
  const holder = document.createDocumentFragment();
  append(holder, children);
  element.replaceChildren(holder);
  return element;
}

// Sets the text only if it is another one: a text that is selected stays selected.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function button(label, click, props = {}) {
  return h("button", { type: "button", class: "button", ...props, on: { click } }, label);
}

export function link(address, ...children) {
  return h("a", { href: address }, ...children);
}

// Puts elements in an order and moves only those that stand elsewhere, which keeps the focus.
export function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const element of elements) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
}

// Says in place of a part why it cannot be shown.
export function trouble(element, error) {
  fill(element, h("pre", { class: "trouble", role: "alert" }, error.message));
}

let last = 0;
export function newId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
