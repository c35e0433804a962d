"""The page's style sheet and its one script."""

from markupsafe import Markup

CSS = Markup("""
:root {
  color-scheme: light dark;
  --ink: #1a2028; --muted: #5a6572; --paper: #ffffff; --panel: #f5f7f9; --rule: #d8dee5;
  --own: #c14f00; --blue: #0067a8; --green: #00805c; --orange: #a87400; --sky: #2c8fc4;
  --purple: #a34f85; --usual: #66727f; --badge: #8a5a00; --badge-paper: #fff2d0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e5e9ee; --muted: #9aa6b3; --paper: #12161c; --panel: #1a2028; --rule: #313a45;
    --own: #ff8f45; --blue: #62b5f0; --green: #3fc79d; --orange: #efb53c; --sky: #8fd0f5;
    --purple: #e39bc6; --usual: #8a97a5; --badge: #ffd479; --badge-paper: #3d2f0c;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
main { max-width: 1260px; margin: 0 auto; padding: 40px 28px 72px; }
h1 { font-size: 27px; line-height: 1.25; font-weight: 650; margin: 0 0 10px; text-wrap: balance;
  letter-spacing: -.01em; }
h2 { font-size: 18px; font-weight: 650; margin: 48px 0 4px; }
h3 { font-size: 15px; font-weight: 600; margin: 28px 0 4px; }
p { margin: 4px 0 14px; max-width: 88ch; text-wrap: pretty; }
.lead { font-size: 15px; color: var(--muted); margin: 0 0 26px; }
.hint, figcaption { color: var(--muted); font-size: 13.5px; }
.badge { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: 12.5px;
  font-weight: 600; color: var(--muted); border: 1px solid var(--rule); white-space: nowrap; }
.badge.warning { color: var(--badge); background: var(--badge-paper); border-color: var(--badge); }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace;
  font-size: .86em; overflow-wrap: anywhere; }
pre { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px;
  padding: 12px 14px; overflow-x: auto; overflow-wrap: normal; line-height: 1.45; margin: 12px 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 5px 18px; margin: 0;
  padding: 14px 18px; background: var(--panel); border: 1px solid var(--rule); border-radius: 8px;
  font-size: 13.5px; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
section.study + section.study { margin-top: 72px; border-top: 1px solid var(--rule);
  padding-top: 40px; }
nav { font-size: 14px; margin-bottom: 28px; }
nav a { color: var(--blue); margin-right: 18px; }

.scroll { overflow-x: auto; margin: 12px 0 6px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 4px 8px; text-align: right; white-space: nowrap; vertical-align: baseline; }
th:first-child, td:first-child, td.word, th.word { text-align: left; }
thead th { font-weight: 600; color: var(--muted); white-space: normal; vertical-align: bottom;
  border-bottom: 1px solid var(--rule); }
thead tr:first-child th { border-top: 2px solid var(--ink); }
thead tr:last-child th { border-bottom: 1px solid var(--ink); }
thead th.group { text-align: center; color: var(--ink); border-bottom: 1px solid var(--rule); }
tbody tr:last-child td { border-bottom: 2px solid var(--ink); }
tbody tr:hover td { background: var(--panel); }
tbody tr.own td:first-child { font-weight: 650; color: var(--own); }
tbody tr.reference td:first-child { font-weight: 650; color: var(--blue); }
tbody tr.again td:first-child { color: var(--muted); }
tbody tr.first td { border-top: 1px solid var(--rule); }
tbody tr:first-child td { border-top: 0; }
th button { all: unset; position: relative; cursor: pointer; font: inherit; color: inherit; }
th button:hover { color: var(--ink); }
th button:focus-visible { outline: 2px solid var(--blue); outline-offset: 3px; border-radius: 2px; }
th button::after { position: absolute; left: calc(100% + 1px); }
th[aria-sort=ascending] button::after { content: "\\2191"; }
th[aria-sort=descending] button::after { content: "\\2193"; }
td.first-best { font-weight: 700; }
td.second-best .value { text-decoration: underline; text-underline-offset: 3px; }
td .absent { visibility: hidden; }
td .mark { display: inline-block; width: .7em; text-align: left; font-size: .8em;
  vertical-align: .35em; line-height: 0; }
td .spread { color: var(--muted); font-weight: 400; font-size: .9em; }
td.quiet { color: var(--muted); }
td.failed { text-align: left; color: var(--badge); white-space: normal; }
td sup, th sup { line-height: 0; font-weight: 400; }
.notes { font-size: 13px; color: var(--muted); padding-left: 1.2em; margin: 10px 0 0; }
.notes li { overflow-wrap: anywhere; margin: 2px 0; max-width: 110ch; }
.notes strong { color: var(--ink); }

figure { margin: 10px 0 0; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .tick, svg .name { fill: var(--muted); }
svg .middle { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .title { font-size: 13px; font-weight: 600; }
svg .label { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 3px;
  stroke-linejoin: round; }
svg .label.usual, svg .label.beyond { fill: var(--muted); }
svg .label.own, svg .label.reference { font-weight: 650; }
svg .grid { stroke: var(--rule); stroke-width: 1; shape-rendering: crispEdges; }
svg .leader { stroke: var(--usual); stroke-width: .8; }
svg .front { fill: none; stroke: var(--usual); stroke-width: 1; stroke-dasharray: 2 4; }
svg .reach { stroke: var(--rule); stroke-width: 3; stroke-linecap: round; }
svg .point { stroke: var(--paper); stroke-width: 1; fill: var(--usual); }
svg .point:hover { stroke: var(--ink); stroke-width: 2; }
svg .curve, svg .whisker { fill: none; stroke-width: 1.8; stroke: var(--usual); }
svg .curve.own { stroke-width: 2.8; }
svg .band { opacity: .16; }
svg .own { --c: var(--own); } svg .reference, svg .control0 { --c: var(--blue); }
svg .control1 { --c: var(--green); } svg .control2 { --c: var(--orange); }
svg .control3 { --c: var(--sky); } svg .control4 { --c: var(--purple); }
svg .control5 { --c: var(--usual); } svg .control6 { --c: var(--ink); }
svg .label.own, svg .label.reference, svg .point.own, svg .point.reference,
svg .band.own { fill: var(--c); }
svg [class*="point control"], svg [class*="label control"] { fill: var(--c); }
svg .curve.own, svg .whisker.own, svg [class*="curve control"], svg [class*="whisker control"],
svg .whisker.reference { stroke: var(--c); }
svg [class*="curve control"] { stroke-dasharray: 6 4; }
svg .curve.control1 { stroke-dasharray: 2 3; } svg .curve.control2 { stroke-dasharray: 9 3 2 3; }
svg .curve.control3 { stroke-dasharray: 4 2; } svg .curve.control4 { stroke-dasharray: 12 4; }
svg .point.beyond { fill: var(--paper); stroke: var(--usual); stroke-width: 1.6; }
svg .point.published { fill: var(--paper); stroke: var(--purple); stroke-width: 1.8; }
svg .label.published { fill: var(--purple); }
svg .bar { fill: var(--blue); opacity: .8; } svg .bar:hover { opacity: 1; }
svg line.even { stroke: var(--own); stroke-width: 1.4; stroke-dasharray: 4 3; }
svg .label.even { fill: var(--own); }
svg .sector { fill: var(--blue); stroke: var(--paper); stroke-width: .7; }
svg .sector:hover { stroke: var(--ink); stroke-width: 1.4; }
svg .load0 { fill-opacity: .16; } svg .load1 { fill-opacity: .34; }
svg .load2 { fill-opacity: .54; } svg .load3 { fill-opacity: .76; } svg .load4 { fill-opacity: 1; }
svg .pooled { fill: var(--usual); fill-opacity: .22; }
svg .on-path { fill: var(--own); fill-opacity: 1; }
.key { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 12.5px; color: var(--muted);
  margin: 8px 0 0; align-items: center; }
.key span { display: inline-flex; align-items: center; gap: 6px; }
.key svg { width: 13px; height: 13px; flex: none; }
.index { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 12px 32px;
  align-items: center; margin-top: 12px; }
.index > figure { margin: 0; }
details { margin-top: 34px; }
summary { cursor: pointer; font-weight: 600; }
details td { white-space: normal; }
details td.command { text-align: left; min-width: 30em; }
@media (max-width: 760px) {
  main { padding: 24px 16px 48px; }
  .index { grid-template-columns: minmax(0, 1fr); }
}
@media print {
  :root { color-scheme: light; --ink: #000; --muted: #444; --paper: #fff; --panel: #fff;
    --rule: #ccc; --own: #c14f00; --blue: #0067a8; --green: #00805c; --orange: #a87400;
    --sky: #2c8fc4; --purple: #a34f85; --usual: #66727f; --badge: #8a5a00; --badge-paper: #fff; }
  main { max-width: none; padding: 0; }
  body { font-size: 11pt; }
  table { font-size: 8.5pt; }
  th, td { padding: 2px 6px; }
  .scroll { overflow: visible; }
  figure, dl, .index { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  thead { display: table-header-group; }
  th button { display: contents; }  /* heads that hold buttons are not repeated on the next page */
  .screen { display: none; }
  svg * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""")

#: Sorts a table by the column whose head is pressed; the page needs no script for anything else.
JAVASCRIPT = Markup("""
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
    const column = Number(head.dataset.column);
    const first = head.dataset.first || "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of table.querySelectorAll("th[aria-sort]")) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const key = (row) => {
      const cell = row.cells[column];
      return cell && "key" in cell.dataset ? cell.dataset.key : "";
    };
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const numbers = !isNaN(x) && !isNaN(y);
      return sign * (numbers ? x - y : x.localeCompare(y, "en", { numeric: true }));
    });
    body.append(...rows);
  });
}
""")
