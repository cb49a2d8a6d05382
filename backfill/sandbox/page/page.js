// What the page shows at the top and at the bottom, and what keeps it up to date.

import { Chart } from "./chart.js";
import { Faults } from "./faults.js";
import { Others } from "./others.js";
import { People } from "./people.js";
import { SegmentForm } from "./segment.js";
import { ask, byId, bytes, el, moment, number } from "./dom.js";

const REFRESH_MS = 2000;
const TOTALS = [
  ["people", "People"],
  ["events", "Events kept"],
  ["event_arrivals", "Event arrivals"],
  ["duplicate_events", "Repeated events"],
  ["timestamps_replaced", "Timestamps replaced", "warn"],
  ["rejected_operations", "Refused operations", "warn"],
  ["requests", "Requests"],
  ["bytes", "Received"],
];

const chart = new Chart(byId("chart"), byId("legend"), byId("chart-table"));
const people = new People();
const faults = new Faults();
const others = new Others();
const segment = new SegmentForm((name) => people.show(name));
let last = "";

async function refresh() {
  try {
    const stats = await ask("/sandbox/stats");
    alive("on", "up to date");
    const now = JSON.stringify(stats);
    if (now === last) return;
    last = now;
    showTotals(stats, await ask("/sandbox/breakdown"));
    chart.show((await ask("/sandbox/timeline")).days);
    showRequests((await ask("/sandbox/requests")).requests);
    faults.refresh();
    people.refresh();
    others.refresh();
    segment.count();
  } catch (error) {
    last = "";
    alive("off", error instanceof TypeError ? "the sandbox does not answer" : error.message);
  }
}

function alive(state, text) {
  const status = byId("alive");
  status.className = state;
  if (status.textContent !== text) status.textContent = text;
}

function showTotals(stats, { bare_people: bare, stamped_people: stamped, failed_identifiers: failed }) {
  byId("totals").replaceChildren(
    ...TOTALS.map(([key, label, kind]) =>
      el(
        "div",
        { class: kind && stats[key] ? kind : null },
        el("dt", {}, label),
        el("dd", { id: `total-${key}` }, key === "bytes" ? bytes(stats[key]) : number(stats[key])),
      ),
    ),
  );
  const notes = [];
  if (stats.timestamps_replaced) {
    notes.push(`Events whose timestamp is not in unix seconds: ${number(stats.timestamps_replaced)}. The service stores them at "now", under 200.`);
  }
  if (bare) {
    notes.push(`People who exist only because an event named them: ${number(bare)}. Send people before their events.`);
  }
  if (stamped) {
    notes.push(`People added without created_at: ${number(stamped)}. The service puts "now" there, and welcome campaigns start.`);
  }
  if (failed) {
    notes.push(`Identifies with an id or e-mail of somebody else: ${number(failed)}. The rest of them was applied.`);
  }
  byId("notes").hidden = notes.length === 0;
  byId("notes").replaceChildren(...notes.map((note) => el("p", {}, note)));
}

let requests = [];

function showRequests(latest) {
  requests = latest;
  const only = byId("only-errors").checked;
  const shown = requests.filter((request) => !only || isBad(request));
  const nothing = el("tr", {}, el("td", { colspan: 5, class: "hint" }, only ? "None." : "Nothing has arrived yet."));
  byId("requests-body").replaceChildren(...(shown.length ? shown.map(row) : [nothing]));
}

const isBad = (request) => request.fault !== null || request.status === null || request.status > 204;

function row(request) {
  const kind = request.status === 207 ? "warn" : isBad(request) ? "bad" : "";
  const said = request.status === null ? "no answer" : String(request.status);
  const fault = request.fault ? el("span", { class: "tag" }, `fault: ${request.fault.replaceAll("_", " ")}`) : null;
  return el(
    "tr",
    {},
    el("td", {}, number(request.request)),
    el("td", { class: "nowrap" }, moment(request.received_s)),
    el("td", {}, `${request.method} ${request.path}`),
    el("td", { class: "number" }, number(request.bytes)),
    el(
      "td",
      {},
      el("span", { class: `status ${kind}` }, said),
      fault,
      request.error ? el("p", { class: "error" }, compact(request.error)) : null,
    ),
  );
}

function compact(text) {
  try {
    return JSON.stringify(JSON.parse(text));
  } catch {
    return text.trim();
  }
}

byId("only-errors").addEventListener("change", () => showRequests(requests));
byId("reset").addEventListener("click", () => byId("reset-dialog").showModal());
byId("reset-dialog").addEventListener("close", async (event) => {
  if (event.target.returnValue !== "reset") return;
  await ask("/sandbox/reset", {});
  people.forget();
  last = "";
  await refresh();
});
byId("where").textContent = `A Track API workspace of your own, at ${location.origin}`;

await refresh();
setInterval(() => document.hidden || refresh(), REFRESH_MS);
