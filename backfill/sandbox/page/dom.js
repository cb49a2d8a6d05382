// Small helpers: elements without markup in strings, requests to the sandbox, texts.

const token = new URLSearchParams(location.search).get("token");

/** Ask the sandbox; gives JSON, or throws an Error with the sandbox's own sentence. */
export async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const request = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  const answer = await fetch(path, request);
  const text = await answer.text();
  if (!answer.ok) throw new Error(sentence(text));
  return JSON.parse(text);
}

function sentence(text) {
  try {
    return JSON.parse(text).error ?? text;
  } catch {
    return text;
  }
}

/** An element: el("p", {class: "hint", onclick: f}, "text", otherElement). */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  fill(element, properties, children);
  return element;
}

/** The same for SVG. */
export function svg(name, properties = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(element, properties, children);
  return element;
}

function fill(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null).map(readable));
}

// Names and values come from files: characters that turn the direction of text make it lie.
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

function readable(child) {
  if (typeof child !== "string") return child;
  return child.replace(UNPRINTABLE, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export const byId = (id) => document.getElementById(id);

export const number = (value) => value.toLocaleString("en");

/** Unix seconds as 2026-01-31 12:00:00, always UTC. */
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString().slice(0, 19).replace("T", " ");
}

export function bytes(value) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (value >= size) return `${(value / size).toFixed(1)} ${unit}`;
  }
  return `${value} B`;
}

/** Calls only when nothing has happened for a while. */
export function calmly(action, wait = 250) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, wait);
  };
}
