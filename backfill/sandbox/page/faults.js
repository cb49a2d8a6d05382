// The script of faults: what is in force, how often each has fired, and a field to change it.

import { ask, byId, el, number } from "./dom.js";

const EXAMPLE = {
  seed: 1,
  faults: [
    { kind: "status", status: 429, retry_after: "1", rate: 0.1 },
    { kind: "lost_answer", requests: [3, 7] },
  ],
};

export class Faults {
  constructor() {
    byId("faults-script").value = JSON.stringify(EXAMPLE, null, 2);
    byId("faults-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.install(byId("faults-script").value);
    });
    byId("faults-none").addEventListener("click", () => this.install('{"faults": []}'));
    byId("faults-help").addEventListener("toggle", () => this.help(), { once: true });
  }

  async install(text) {
    const said = byId("faults-said");
    try {
      await ask("/sandbox/faults", JSON.parse(text));
      said.textContent = "In force.";
    } catch (error) {
      said.textContent = error.message;
    }
    await this.refresh();
  }

  async refresh() {
    const report = await ask("/sandbox/faults");
    const items = report.faults.map(({ fired, ...fault }) =>
      el("li", {}, el("code", {}, JSON.stringify(fault)), ` fired ${number(fired)} ×`),
    );
    byId("faults-list").replaceChildren(...(items.length ? items : [el("li", { class: "hint" }, "None: everything works.")]));
  }

  async help() {
    byId("faults-text").textContent = (await ask("/sandbox/help")).faults;
  }
}
