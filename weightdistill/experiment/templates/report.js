// A click on a heading sorts its table: first in the order that readers usually want, then in reverse.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const turned = { ascending: "descending", descending: "ascending" };
    const order = turned[head.getAttribute("aria-sort")] ?? head.dataset.first;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = row => row.cells[column].dataset.value;
    const compared = (a, b) => head.classList.contains("number") ? a - b : a.localeCompare(b);
    const rows = [...body.rows].sort((a, b) => {
      if (value(a) === undefined || value(b) === undefined) {  // what has no value comes last, in either order
        return (value(a) === undefined) - (value(b) === undefined);
      }
      return sign * compared(value(a), value(b));
    });
    body.append(...rows);
  }));
}
