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

  const drawAll = (root) => { if (window.uPlot) for (const element of root.querySelectorAll("[data-chart]:empty")) draw(element); };
  document.addEventListener("DOMContentLoaded", () => drawAll(document));
  document.addEventListener("htmx:after:swap", () => drawAll(document));
})();
