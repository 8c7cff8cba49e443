
"use strict";
// Tables sort by the column whose heading is pressed; numbers as numbers, what is missing last.
function order(table, column, descending) {
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = !Number.isNaN(Number(a)) && !Number.isNaN(Number(b));
    const found = numbers ? Number(a) - Number(b) : a.localeCompare(b);
    return descending ? -found : found;
  };
  const body = table.tBodies[0];
  body.append(...Array.from(body.rows).sort(compare));
}
for (const heading of document.querySelectorAll("thead th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const table = heading.closest("table");
    const descending = heading.getAttribute("aria-sort") !== "descending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    order(table, heading.cellIndex, descending);
  });
}
// Of the strategies one is shown, the one that is chosen.
for (const choice of document.querySelectorAll(".tabs input")) {
  const choose = () => {
    for (const tab of document.querySelectorAll(".tab")) tab.hidden = tab.dataset.strategy !== choice.value;
  };
  choice.addEventListener("change", choose);
  if (choice.checked) choose();
}
// A link into something folded opens it; printing opens all but the records.
function open(element) {
  for (let place = element; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
}
function follow() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target) { open(target); target.scrollIntoView(); }
}
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details:not(.records)")) one.open = true; });
follow();
