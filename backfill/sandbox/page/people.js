// The list of people, and one of them with attributes, devices and events.

import { ask, byId, calmly, el, moment, number } from "./dom.js";

const PAGE = 50;
const FEW = 6; // fields of an event that are shown without asking

export class People {
  constructor() {
    this.chosen = null;
    byId("search").addEventListener("input", calmly(() => this.list()));
    byId("more-people").addEventListener("click", () => this.list(this.next));
  }

  forget() {
    this.chosen = null;
    byId("person").replaceChildren(el("p", { class: "hint" }, "Choose a person."));
  }

  /** The list as it is now, unless someone has gone on to further pages. */
  async refresh() {
    if (byId("people-list").children.length <= PAGE) await this.list();
    if (this.chosen !== null) await this.load(this.chosen);
  }

  async list(after = 0) {
    const search = encodeURIComponent(byId("search").value);
    const found = await ask(`/sandbox/people?limit=${PAGE}&after=${after}&search=${search}`);
    const items = found.people.map((person) => this.item(person));
    const list = byId("people-list");
    if (after) list.append(...items);
    else list.replaceChildren(...(items.length ? items : [el("li", { class: "hint" }, "Nobody.")]));
    this.next = found.next;
    // an empty panel beside a full list says nothing
    if (this.chosen === null && found.people.length && !after) await this.load(nameOf(found.people[0]), true);
    byId("more-people").hidden = found.next === null;
    this.mark();
  }

  item(person) {
    const name = nameOf(person);
    const shown = person.id ?? person.email ?? name;
    const bare = person.bare ? el("span", { class: "tag" }, "bare") : null;
    const choose = { type: "button", "data-name": name, onclick: () => this.show(name) };
    return el("li", {}, el("button", choose, shown, bare));
  }

  mark() {
    for (const button of byId("people-list").querySelectorAll("button")) {
      button.setAttribute("aria-current", String(button.dataset.name === this.chosen));
    }
  }

  async show(name) {
    this.chosen = name;
    this.mark();
    await this.load(name);
    byId("person").scrollIntoView({ block: "nearest" });
  }

  async load(name, first = false) {
    if (first) this.chosen = name;
    let shown;
    try {
      shown = portrait(await ask(`/sandbox/people/${encodeURIComponent(name)}`));
    } catch (error) {
      shown = [el("p", { class: "hint" }, error.message)];
    }
    // Somebody else may have been chosen meanwhile: a late answer must not take that place.
    if (this.chosen === name) byId("person").replaceChildren(...shown);
  }
}

const nameOf = (person) => person.id ?? `cio_${person.cio_id}`;

function portrait(person) {
  const facts = { id: person.id, email: person.email, phone: person.phone, cio_id: person.cio_id };
  const known = Object.entries(facts).filter(([, value]) => value !== null);
  return [
    el("h3", {}, person.id ?? person.email ?? person.cio_id, person.bare ? el("span", { class: "tag" }, "bare: made by an event") : null),
    el("p", { class: "hint" }, `Added ${moment(person.since)} UTC`),
    table([...known, ...Object.entries(person.attributes).filter(([name]) => !(name in facts))]),
    person.created_at_stamped ? el("p", { class: "hint" }, "created_at was not sent: it is when the person was added. At the service a welcome campaign would start.") : null,
    ...(person.segments.length ? [el("h3", {}, "Manual segments"), el("p", {}, person.segments.join(", "))] : []),
    ...(person.relationships.length ? [el("h3", {}, "Relationships"), table(person.relationships.map((r) => [r.object, r.attributes]))] : []),
    ...(person.devices.length ? [el("h3", {}, "Devices"), table(person.devices.map((d) => [d.platform, d.token]))] : []),
    el("h3", {}, `Events (${number(person.events)})`),
    timeline(person),
  ].filter((part) => part !== null);
}

function table(pairs) {
  const rows = pairs.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, text(value))));
  return el("table", {}, el("tbody", {}, ...rows));
}

function timeline(person) {
  if (!person.last_events.length) return el("p", { class: "hint" }, "None.");
  const items = person.last_events.map((event) =>
    el(
      "li",
      {},
      el("strong", {}, event.name),
      event.type === "event" ? null : el("span", { class: "tag" }, event.type),
      event.timestamp_replaced ? el("span", { class: "tag" }, "timestamp replaced by now") : null,
      el("br"),
      el("time", {}, `${moment(event.timestamp)} UTC`),
      data(event.attributes),
    ),
  );
  return el("ol", { class: "timeline" }, ...items);
}

/** What came with an event: a few fields as they are, many folded away. */
function data(attributes) {
  const pairs = Object.entries(attributes);
  if (!pairs.length) return null;
  if (pairs.length <= FEW) return table(pairs);
  return el("details", {}, el("summary", {}, `${pairs.length} fields`), table(pairs));
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));
