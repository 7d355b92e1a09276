// Without this script the page has all its text, tables and figures. It sorts tables, copies sentences, opens the
// section a link leads to, and draws bands image by image. It asks nothing of any network.
"use strict";

// ---- tables ----

function sortKey(cell) {
  const text = cell.textContent.trim();
  if (!cell.classList.contains("number")) return text === "\u2013" ? null : text;
  const value = Number(cell.dataset.v ?? (text.replace("\u2212", "-") || NaN));
  return Number.isFinite(value) ? value : null;
}

function compareKeys(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

// Rows by one column; rows without a value there stay last in both directions.
function sortTable(head) {
  const descending = head.getAttribute("aria-sort") === "ascending";
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows].map(row => ({ row, key: sortKey(row.cells[head.cellIndex]) }));
  rows.sort((a, b) => {
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    return descending ? compareKeys(b.key, a.key) : compareKeys(a.key, b.key);
  });
  head.parentNode.querySelectorAll("[aria-sort]").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  body.append(...rows.map(one => one.row));
}

function makeSortable(table) {
  if (table.tBodies[0].rows.length < 2) return;
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortTable(head));
    head.append(button);
  }
}

// ---- sentences to quote ----

async function copyText(line) {
  try {
    await navigator.clipboard.writeText(line.textContent);
    return "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(line);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    return document.execCommand("copy") ? "Copied" : "Selected";
  }
}

function makeCopyable(line) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${line.textContent}`);
  button.addEventListener("click", async () => {
    const done = await copyText(line);
    button.textContent = done;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  line.after(button);
}

// ---- folded sections ----

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  target.scrollIntoView();
}

function openForPrint() {
  const folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach(one => { one.open = true; });
  addEventListener("afterprint", () => folded.forEach(one => { one.open = false; }), { once: true });
}

// ---- bands, image by image ----

function positionsOf(data, moves) {
  const at = k => [0, 1, 2].map(i => data.base[3 * k + i] + moves[3 * k + i]);
  const atoms = data.kind.map((kind, k) => ({ kind: data.kinds[kind], place: at(k), faded: k !== data.marked }));
  const copies = data.copies.map(([k, ...shift]) => (
    { kind: atoms[k].kind, place: atoms[k].place.map((x, i) => x + shift[i]), faded: true }
  ));
  return atoms.concat(copies);
}

// One view as SVG text: `up` is the axis that points up, 1 seen from above and 2 seen from the side.
function viewText(data, track, image, up) {
  const [low, high] = data.box, height = place => (up === 1 ? place[2] : -place[1]);
  const nearest = up === 1 ? high[2] : -low[1], farthest = up === 1 ? low[2] : -high[1];
  const point = place => `${place[0]} ${-place[up]}`;
  const parts = positionsOf(data, track.moves[image]).sort((a, b) => height(a.place) - height(b.place)).map(atom => {
    const near = (height(atom.place) - farthest) / (nearest - farthest);
    const [colour, radius] = atom.kind;
    const shade = atom.faded ? (0.3 + 0.7 * near).toFixed(2) : 1;
    return `<circle class="atom" opacity="${shade}" cx="${atom.place[0]}" cy="${-atom.place[up]}" r="${radius}" fill="${colour}"/>`;
  });
  const trace = track.moves.map(moves => [0, 1, 2].map(i => data.base[3 * data.marked + i] + moves[3 * data.marked + i]));
  const ion = trace[image], [, radius] = data.kinds[data.kind[data.marked]];
  parts.push(`<path class="trace" d="M${trace.map(point).join("L")}"/>`);
  parts.push(`<circle class="ring" cx="${ion[0]}" cy="${-ion[up]}" r="${radius}"/>`);
  const corners = data.outlines[up - 1];
  if (corners.length) parts.push(`<path class="outline" d="M${corners.map(([x, y]) => `${x} ${-y}`).join("L")}Z"/>`);
  return parts.join("");
}

function makeViewer(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const [above, side] = figure.querySelectorAll(".views svg");
  const [back, forth] = figure.querySelectorAll("button");
  const slider = figure.querySelector("input"), select = figure.querySelector("select");
  const marker = figure.querySelector(".marker"), said = figure.querySelector(".said");
  const [low, high] = data.box;
  for (const [svg, up] of [[above, 1], [side, 2]]) {
    svg.setAttribute("viewBox", `${low[0]} ${-high[up]} ${high[0] - low[0]} ${high[up] - low[up]}`);
  }
  function show(image) {
    const track = data.tracks[select.selectedIndex], words = track.said[image];
    above.innerHTML = viewText(data, track, image, 1);
    side.innerHTML = viewText(data, track, image, 2);
    above.setAttribute("aria-label", `From above. ${words}`);
    side.setAttribute("aria-label", `From the side. ${words}`);
    const [x, y] = track.marks[image];
    marker.setAttribute("cx", x);
    marker.setAttribute("cy", y);
    slider.value = image + 1;
    slider.setAttribute("aria-valuetext", words);
    said.textContent = words;
    back.setAttribute("aria-disabled", image === 0);
    forth.setAttribute("aria-disabled", image === track.moves.length - 1);
  }
  const step = by => show(Math.min(Math.max(slider.value - 1 + by, 0), slider.max - 1));
  back.addEventListener("click", () => step(-1));
  forth.addEventListener("click", () => step(1));
  slider.addEventListener("input", () => step(0));
  select.addEventListener("change", () => show(data.tracks[select.selectedIndex].start));
  figure.querySelectorAll(".views, .controls").forEach(part => { part.hidden = false; });
  marker.removeAttribute("hidden");
  show(data.tracks[0].start);
}

document.querySelectorAll("table").forEach(makeSortable);
document.querySelectorAll(".quotes span").forEach(makeCopyable);
document.querySelectorAll(".viewer").forEach(makeViewer);
addEventListener("hashchange", openTarget);
addEventListener("beforeprint", openForPrint);
openTarget();
