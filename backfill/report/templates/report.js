"use strict";
// Shows at once, and beside the pointer, what the browser would show of <title> after a while.
const tip = document.getElementById("tip");
for (const each of document.querySelectorAll("svg.chart title")) {
  each.parentNode.dataset.tip = each.textContent;
  each.remove();
}
addEventListener("pointermove", (event) => {
  const marked = event.target.closest ? event.target.closest("[data-tip]") : null;
  tip.hidden = !marked;
  if (!marked) return;
  tip.textContent = marked.dataset.tip;
  const room = 12;
  const left = Math.min(event.clientX + room, innerWidth - tip.offsetWidth - room);
  const above = event.clientY - tip.offsetHeight - room;
  tip.style.left = `${Math.max(left, room)}px`;
  tip.style.top = `${above > 0 ? above : event.clientY + room * 2}px`;
});

// On a narrow screen each row of a table is a list of what its cells are: see `.stack`.
for (const table of document.querySelectorAll(".scroll:not(details *) > table")) {
  const names = [...table.tHead.rows[0].cells].map((each) => each.textContent);
  for (const row of table.querySelectorAll(":is(tbody, tfoot) > tr")) {
    [...row.cells].forEach((cell, at) => { cell.dataset.is = names[at]; });
  }
  table.classList.add("stack");
}
