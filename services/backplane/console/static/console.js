// What a page does besides htmx: keys, charts, and beginning anew where the log cannot be followed any further.
// Nothing here makes HTML of text: elements are made by name, text is set as text.
"use strict";

(() => {
  const typing = (element) => element.closest("input, textarea, select, [contenteditable]");
  let waiting = "";
  let current = -1;

  const rows = () => [...document.querySelectorAll("main table.rows tbody tr, main .timeline [role=row][id], main .feed li, main .hops > li")];

  function choose(step) {
    const all = rows();
    if (!all.length) return;
    all[current]?.classList.remove("chosen");
    current = Math.max(0, Math.min(all.length - 1, current + step));
    all[current].classList.add("chosen");
    all[current].scrollIntoView({ block: "nearest" });
  }

  function turn(step) {
    const tabs = [...document.querySelectorAll(".tabs a")];
    const here = tabs.findIndex((tab) => tab.hasAttribute("aria-current"));
    const next = tabs[here + step];
    if (here >= 0 && next) next.click();
  }

  document.addEventListener("keydown", (event) => {
    const search = document.getElementById("q");
    if ((event.ctrlKey || event.metaKey) && event.key === "k") {
      event.preventDefault();
      search?.focus();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && typing(event.target)) event.target.blur();
    if (typing(event.target)) return;
    if (waiting === "g") {
      waiting = "";
      document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)?.click();
      return;
    }
    const actions = {
      "/": () => search?.focus(),
      "?": () => document.getElementById("keys").showModal(),
      j: () => choose(1),
      k: () => choose(-1),
      g: () => { waiting = "g"; },
      "[": () => turn(-1),
      "]": () => turn(1),
      Enter: () => { if (!event.target.closest("a, button, summary")) rows()[current]?.querySelector("a")?.click(); },
    };
    const act = actions[event.key];
    if (!act) return;
    if (event.key !== "Enter") event.preventDefault();
    act();
  });

  // Ctrl+Enter sends the statement of the SQL page, as in every editor of queries.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.matches("textarea")) event.target.form.requestSubmit();
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) {
      for (const box of document.querySelectorAll(`input[name="${CSS.escape(event.target.dataset.all)}"]`)) box.checked = event.target.checked;
    } else if (event.target.matches(".filters select")) event.target.form.requestSubmit();
  });

  document.addEventListener("reload", () => location.reload());

  // hx-sse connects again when a stream breaks, but not when its first connection fails: then the page asks again itself.
  const FIRST_MS = 500;
  const LATEST_MS = 30_000;
  let wait = FIRST_MS;
  let asking = 0;
  function follow(event) {
    const live = event.target;
    if (live.id !== "live" || live._htmx?.sse || asking) return;
    asking = setTimeout(() => {
      asking = 0;
      if (live.isConnected && !live._htmx?.sse) htmx.trigger(live, "follow");
    }, wait);
    wait = Math.min(wait * 2, LATEST_MS);
  }
  document.addEventListener("htmx:finally:request", follow);
  document.addEventListener("htmx:sse:close", follow);
  document.addEventListener("htmx:sse:after:connection", () => { wait = FIRST_MS; });

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const money = (value) => value === 0 ? "$0" : value >= 0.01 ? `$${value.toFixed(2)}` : `$${value.toPrecision(2)}`;

  function draw(element) {
    const data = JSON.parse(element.dataset.chart);
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    const chart = new uPlot({
      width: element.clientWidth,
      height: 180,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      legend: { show: false },
      cursor: { y: false },
      scales: { y: { range: (_, low, high) => [0, high || 1] } },
      series: [{}, { label: element.dataset.unit, fill: colour("--accent"), stroke: colour("--accent"), paths: uPlot.paths.bars({ size: [0.7, 40] }), points: { show: false } }],
      axes: [{ ...axis, grid: { show: false }, values: [[86400, "{D} {MMM}", null, null, null, null, null, null, 1], [60, "{HH}:{mm}", "\n{D} {MMM}", null, null, null, null, null, 1]] }, { ...axis, size: 70, values: (_, ticks) => ticks.map(money) }],
    }, data, element);
    new ResizeObserver(() => chart.setSize({ width: element.clientWidth, height: 180 })).observe(element);
  }

  // A drawing fits its frame; it is moved by dragging, by the arrow keys, and drawn nearer by the wheel or the buttons.
  function movable(frame) {
    const svg = frame.querySelector("svg");
    if (!svg || frame.dataset.movable) return;
    frame.dataset.movable = "1";
    const whole = svg.viewBox.baseVal;
    const start = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
    let view = { ...start };
    const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    const unit = () => Math.max(view.width / svg.clientWidth, view.height / svg.clientHeight);
    function zoom(factor, x = view.x + view.width / 2, y = view.y + view.height / 2) {
      const width = Math.min(Math.max(view.width * factor, 240), start.width * 2);
      const by = width / view.width;
      view = { x: x - (x - view.x) * by, y: y - (y - view.y) * by, width, height: view.height * by };
      show();
    }
    const buttons = document.createElement("div");
    buttons.className = "zoom";
    for (const [name, text, act] of [["+ nearer", "+", () => zoom(0.7)], ["− further", "−", () => zoom(1 / 0.7)], ["fit the whole drawing", "fit", () => { view = { ...start }; show(); }]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", name);
      button.addEventListener("click", act);
      buttons.append(button);
    }
    frame.append(buttons);
    let from = null;
    let moved = false;
    svg.addEventListener("pointerdown", (event) => { from = { x: event.clientX, y: event.clientY }; moved = false; });
    svg.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
      if (!moved && Math.hypot(dx, dy) < 4) return;
      if (!moved) svg.setPointerCapture(event.pointerId);
      moved = true;
      svg.classList.add("panned");
      view = { ...view, x: view.x - dx * unit(), y: view.y - dy * unit() };
      from = { x: event.clientX, y: event.clientY };
      show();
    });
    for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { from = null; svg.classList.remove("panned"); });
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    svg.addEventListener("click", (event) => { if (moved) event.preventDefault(); }, true);
    svg.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      const box = svg.getBoundingClientRect();
      zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, view.x + (event.clientX - box.left) * unit(), view.y + (event.clientY - box.top) * unit());
    }, { passive: false });
    frame.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-60, 0], ArrowRight: [60, 0], ArrowUp: [0, -60], ArrowDown: [0, 60] }[event.key];
      if (event.target !== frame || (!step && !["+", "-", "0"].includes(event.key))) return;
      event.preventDefault();
      if (event.key === "+") zoom(0.7);
      else if (event.key === "-") zoom(1 / 0.7);
      else if (event.key === "0") { view = { ...start }; show(); }
      else { view = { ...view, x: view.x + step[0] * unit(), y: view.y + step[1] * unit() }; show(); }
    });
  }

  // A table whose rows are all there is sorted by its columns; lists that go on in the store are sorted by the server.
  const COUNT = /^[+−-]?[$]?[\d.,\s\u202f]+/;
  function value(cell) {
    const time = cell.querySelector("time");
    if (time) return time.getAttribute("datetime");
    const text = cell.textContent.trim();
    if (!cell.classList.contains("num") || !COUNT.test(text)) return text.toLowerCase();
    const factor = { kB: 1e3, MB: 1e6, ms: 1, s: 1e3, min: 6e4, h: 3.6e6 }[(text.match(/[a-zA-Z]+$/) || [""])[0]] || 1;
    return parseFloat(text.replace(/[^\d.-]/g, "")) * factor || 0;
  }
  function sortable(table) {
    const body = table.tBodies[0];
    if (table.dataset.sorted !== undefined || table.tBodies.length !== 1 || body.rows.length < 2) return;
    table.dataset.sorted = "";
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      if (!head.textContent.trim() || head.querySelector("a, button, input")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent.trim();
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = button.dataset.order === "up" || !button.dataset.order;
        for (const other of table.tHead.querySelectorAll("button")) if (other !== button) delete other.dataset.order;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        button.dataset.order = down ? "down" : "up";
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const compared = [...body.rows].map((row) => [value(row.cells[index]), row]);
        compared.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
        body.append(...compared.map(([, row]) => row));
      });
    });
  }

  function begin(root) {
    for (const frame of root.querySelectorAll(".graph")) movable(frame);
    for (const table of root.querySelectorAll("table.rows")) if (table.tHead) sortable(table);
  }
  document.addEventListener("DOMContentLoaded", () => begin(document));
  document.addEventListener("htmx:after:swap", () => begin(document));

  const drawAll = (root) => { if (window.uPlot) for (const element of root.querySelectorAll("[data-chart]:empty")) draw(element); };
  document.addEventListener("DOMContentLoaded", () => drawAll(document));
  document.addEventListener("htmx:after:swap", () => drawAll(document));
})();
