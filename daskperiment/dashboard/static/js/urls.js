// Addresses of pages and of the API.  Each part is encoded here and nowhere else.

// Half of a surrogate pair cannot be encoded.
const part = (text) => encodeURIComponent(String(text).replace(/\p{Surrogate}/gu, "\ufffd"));

export function withQuery(path, params) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") query.append(name, one);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export const pages = {
  experiments: () => "/experiments",
  trials: (id, query) => withQuery(`/experiments/${part(id)}`, query),
  trial: (id, n, hash = "") => `/experiments/${part(id)}/trials/${part(n)}${hash}`,
  compare: (id, trials) => withQuery(`/experiments/${part(id)}/compare`, { trials }),
  searches: (id) => `/experiments/${part(id)}/searches`,
  search: (id, name) => `/experiments/${part(id)}/searches/${part(name)}`,
  running: (experiment) => withQuery("/running", { experiment }),
};

export const api = {
  meta: () => "/api/v1/meta",
  experiments: () => "/api/v1/experiments",
  running: () => "/api/v1/running",
  trials: (id) => `/api/v1/experiments/${part(id)}/trials`,
  trial: (id, n, what = "") =>
    `/api/v1/experiments/${part(id)}/trials/${part(n)}${what ? `/${what}` : ""}`,
  searches: (id) => `/api/v1/experiments/${part(id)}/searches`,
  search: (id, name) => `/api/v1/experiments/${part(id)}/searches/${part(name)}`,
  metrics: (id) => `/api/v1/experiments/${part(id)}/metrics`,
  compare: (id) => `/api/v1/experiments/${part(id)}/compare`,
};

export function section(name, rest) {
  return rest === undefined ? `#${name}` : `#${name}/${part(rest)}`;
}

// Of a hash such as "#graph/clean%5B0%5D": ["graph", "clean[0]"].
export function readSection(hash) {
  const [name, ...rest] = hash.replace(/^#/, "").split("/");
  try {
    return [decodeURIComponent(name), rest.length ? decodeURIComponent(rest.join("/")) : undefined];
  } catch {
    return [name, undefined];
  }
}
