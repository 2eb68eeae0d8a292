"use strict";
// Sorts and filters the table of texts; the page is whole without it.
(() => {
  if (!window.DecompressionStream) return; // of a browser from before 2023
  const STEP = 200;
  const body = document.querySelector("#texts tbody");
  const heads = [...document.querySelectorAll("#texts th")];
  const find = document.getElementById("find");
  const found = document.getElementById("found");
  const more = document.getElementById("more");
  let rows = null;
  let view = [];
  let shown = 0;
  let sorted = { column: -1, down: false };

  // Rows are [draws or probability, nats, text, nats of terms, ends of marks]; they are unpacked at the first use.
  const number = (value) => (value === "inf" ? Infinity : value === null ? NaN : value);
  const nats = (value) => {
    const n = number(value);
    if (Number.isNaN(n)) return "-";
    if (!Number.isFinite(n)) return "inf";
    return Math.abs(n) >= 1e7 ? n.toPrecision(4) : n.toFixed(2);
  };
  const load = async () => {
    if (rows) return;
    const bytes = Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const read = await new Response(stream).json();
    if (rows) return;
    for (const row of read) row.push(row[2].toLowerCase());
    rows = view = read;
  };

  const cell = (name, text) => {
    const made = document.createElement("td");
    made.className = name;
    made.textContent = text;
    return made;
  };
  const marked = (text, ends) => {
    const made = document.createElement("td");
    made.dir = "auto";
    const letters = ends.length ? Array.from(text) : [];
    let at = 0;
    for (let i = 0; i < ends.length; i += 2) {
      made.append(letters.slice(at, ends[i]).join(""));
      const mark = document.createElement("mark");
      mark.textContent = letters.slice(ends[i], ends[i + 1]).join("");
      made.append(mark);
      at = ends[i + 1];
    }
    made.append(ends.length ? letters.slice(at).join("") : text);
    return made;
  };
  const isLaw = document.getElementById("texts").dataset.law;
  const share = (draws) => (draws >= 5e-5 ? `${(100 * draws).toFixed(2)}%` : "<0.01%");
  const often = (draws) => (isLaw ? share(draws) : draws.toLocaleString("en"));
  const line = ([draws, energy, text, terms, ends]) => {
    const made = document.createElement("tr");
    made.append(cell("number", often(draws)), cell("number", nats(energy)), marked(text, ends));
    for (const term of terms) made.append(cell("number term", nats(term)));
    return made;
  };

  const add = () => {
    const part = document.createDocumentFragment();
    for (const row of view.slice(shown, shown + STEP)) part.append(line(row));
    body.append(part);
    shown = Math.min(shown + STEP, view.length);
    offer(view.length - shown);
  };
  const offer = (left) => {
    more.replaceChildren();
    if (left <= 0) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Show ${Math.min(left, STEP)} more of ${left.toLocaleString("en")}`;
    button.addEventListener("click", async () => {
      await load();
      add();
    });
    more.append(button);
  };
  const draw = () => {
    body.replaceChildren();
    shown = 0;
    add();
  };

  const value = (row, column) => (column === 2 ? row[5] : column < 2 ? number(row[column]) : number(row[3][column - 3]));
  const order = (a, b) => {
    const [x, y] = [value(a, sorted.column), value(b, sorted.column)];
    if (x !== x || y !== y) return x !== x ? (y !== y ? 0 : 1) : -1; // what is not known comes last
    const sign = x < y ? -1 : x > y ? 1 : 0;
    return sorted.down ? -sign : sign;
  };
  const filter = async () => {
    await load();
    const wanted = find.value.trim().toLowerCase();
    view = wanted ? rows.filter((row) => row[5].includes(wanted)) : rows;
    found.textContent = wanted ? `${view.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} texts` : "";
    draw();
  };

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", async () => {
      await load();
      sorted = { column, down: sorted.column === column ? !sorted.down : column === 0 };
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      rows.sort(order);
      filter();
    });
  });
  let waiting = 0;
  find.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  shown = body.rows.length;
  offer(Number(document.getElementById("texts").dataset.all) - shown);
  document.getElementById("tools").hidden = false;
})();
