"use strict";
// Rows and columns of a confusion matrix in the chosen order.
for (const chooser of document.querySelectorAll("select.order")) {
  const table = document.getElementById(chooser.dataset.table);
  const lines = [table.tHead.rows[0], ...table.tBodies[0].rows];
  const cells = lines.map((line) => [...line.cells].slice(1));
  chooser.addEventListener("change", () => {
    const order = chooser.value.split(" ").map(Number);
    lines.forEach((line, index) => line.append(...order.map((place) => cells[index][place])));
    table.tBodies[0].append(...order.map((place) => lines[place + 1]));
  });
  chooser.closest("[hidden]").hidden = false;
}
// A click on a column's head orders the rows of a table by it; a second one turns them round.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (head.classList.contains("bar")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const falls = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[column];
        return cell.dataset.value ?? cell.textContent.trim();
      };
      const compare = (one, other) => {
        const [first, second] = [value(one), value(other)];
        if ((first === "") !== (second === "")) return first === "" ? 1 : -1; // unknown: last
        const order = isNaN(first) || isNaN(second) ? first.localeCompare(second) : first - second;
        return falls ? -order : order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
