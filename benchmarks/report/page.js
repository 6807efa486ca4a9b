"use strict";
// Sorts a table by a click on a header: numbers by their value, the best (largest) first, cells without one last.

function key(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
}

function compare(one, other, numeric) {
  if (numeric) {
    return one - other;
  }
  return one.localeCompare(other, "en", { numeric: true });
}

function sortTable(table, column, direction) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: key(row, column) }));
  const numeric = rows.some((item) => typeof item.key === "number");
  const known = rows.filter((item) => !numeric || typeof item.key === "number");
  const unknown = rows.filter((item) => !known.includes(item));
  known.sort((one, other) => direction * compare(one.key, other.key, numeric));
  body.append(...[...known, ...unknown].map((item) => item.row));
}

function next(header, table, column) {
  const numeric = Array.from(table.tBodies[0].rows).some((row) => "value" in row.cells[column].dataset);
  const now = header.getAttribute("aria-sort");
  if (now === null) {
    return numeric ? "descending" : "ascending";
  }
  return now === "ascending" ? "descending" : "ascending";
}

for (const table of document.querySelectorAll("table.sortable")) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const order = next(header, table, column);
      table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      sortTable(table, column, order === "ascending" ? 1 : -1);
    });
  });
}
