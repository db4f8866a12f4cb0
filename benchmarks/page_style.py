"""Looks of the HTML report: CSS for light and dark, and the few lines of script that show details.

Blue and orange after Okabe and Ito, which colour-blind readers tell apart; family is also told by shape.
"""

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1c1f; --soft: #5d636b; --grid: #e3e6ea;
  --panel: #f6f7f9; --sf: #0072b2; --pw: #d55e00; --heat: #a3006f; --warn: #9c1c00; --warn-paper: #fdeee9; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --ink: #e8eaed; --soft: #a0a7b0; --grid: #30353b; --panel: #1d2024;
    --sf: #56b4e9; --pw: #f09a3e; --heat: #e58fc7; --warn: #ffb59e; --warn-paper: #3a1d14; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 1180px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; }
h3 { font-size: .95rem; margin: 0 0 .3rem; }
p { margin: .4rem 0; max-width: 75ch; }
.soft, figcaption { color: var(--soft); font-size: .875rem; }
.labels { list-style: none; margin: .8rem 0 0; padding: 0; font-size: .875rem; }
.labels li { border-left: 3px solid var(--grid); padding: .1rem .7rem; margin: .25rem 0; color: var(--soft); }
.labels li.grave { border-color: var(--warn); background: var(--warn-paper); color: var(--warn);
  font-weight: 600; }
.banner { background: var(--warn); color: var(--paper); font-weight: 700; padding: .5rem .8rem; margin: 0 0 1rem;
  border-radius: 4px; position: sticky; top: 0; z-index: 3; }
.scroll { overflow-x: auto; border: 1px solid var(--grid); border-radius: 6px; }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { padding: .3rem .45rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--grid); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; vertical-align: bottom; }
thead th.group { text-align: center; border-left: 1px solid var(--grid); }
tbody th, thead th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
tbody th { font-weight: 600; }
tbody th::before { content: ""; display: inline-block; width: .6em; height: .6em; margin-right: .5em;
  background: var(--sf); border-radius: 50%; }
tbody tr.pw th::before { background: var(--pw); border-radius: 0; }
td small { display: block; color: var(--soft); font-size: .74rem; line-height: 1.15; }
td.left { text-align: left; }
figure { margin: 0; background: var(--panel); border-radius: 6px; padding: .7rem .7rem .4rem; min-width: 0; }
.grid { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.grid.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 320px), 1fr)); }
svg { display: block; width: 100%; height: auto; max-width: 600px; margin: 0 auto; overflow: visible; }
svg text { font-size: 10.5px; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 10px; }
svg .label { fill: var(--soft); font-size: 11px; }
svg .name { paint-order: stroke; stroke: var(--panel); stroke-width: 3px; stroke-linejoin: round; }
svg .rule { stroke: var(--grid); }
svg .diagonal { stroke: var(--soft); stroke-dasharray: 2 4; }
svg .join { stroke: var(--soft); fill: none; opacity: .6; }
.sf { --colour: var(--sf); } .pw { --colour: var(--pw); }
svg .mark { fill: var(--colour); stroke: var(--panel); stroke-width: 1px; }
svg .mark.paper { fill: var(--panel); stroke: var(--colour); stroke-width: 2px; }
svg .shape { fill: var(--colour); opacity: .4; }
svg .curve { fill: none; stroke: var(--colour); stroke-width: 1.5px; }
svg .median { stroke: var(--ink); stroke-width: 2px; }
svg .p95 { stroke: var(--ink); stroke-width: 1.2px; }
svg .p99 { stroke: var(--ink); stroke-width: 1.2px; stroke-dasharray: 2 1.5; }
svg .target { fill: transparent; }
svg .repeat { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .taint { fill: var(--warn-paper); }
svg .temperature { fill: none; stroke: var(--heat); } svg .heat { fill: var(--heat); }
svg [data-tip] { outline: none; cursor: default; }
svg .mark:hover, svg .mark:focus-visible { stroke: var(--ink); stroke-width: 2px; }
svg .violin:hover .target, svg .violin:focus-visible .target { fill: var(--grid); opacity: .5; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .5rem 0 .7rem; font-size: .84rem;
  color: var(--soft); }
.legend i { display: inline-block; width: .75em; height: .75em; margin-right: .45em;
  border: 2px solid var(--colour); background: var(--colour); border-radius: 50%; }
.legend i.pw { border-radius: 0; } .legend i.paper { background: transparent; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1rem;
  margin: .6rem 0; font-size: .875rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; font-weight: 600; }
pre { background: var(--panel); padding: .6rem .8rem; border-radius: 6px; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .82rem; }
#tip { position: fixed; z-index: 9; max-width: min(24rem, 92vw); padding: .4rem .6rem; border-radius: 5px;
  background: var(--ink); color: var(--paper); font-size: .8rem; white-space: pre-line; pointer-events: none; }
@media (max-width: 560px) { table { font-size: .74rem; } th, td { padding: .3rem; } }
@media print { .banner { position: static; } }
"""

SCRIPT = """
const tip = document.getElementById('tip');
function show(event) {
  const about = event.target.closest('[data-tip]');
  tip.hidden = !about;
  if (!about) return;
  tip.textContent = about.dataset.tip;
  const box = about.getBoundingClientRect();
  const below = box.bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = Math.max(8, Math.min(innerWidth - tip.offsetWidth - 8, box.left)) + 'px';
  tip.style.top = (below ? box.bottom + 6 : box.top - 6 - tip.offsetHeight) + 'px';
}
addEventListener('pointerover', show);
addEventListener('focusin', show);
addEventListener('keydown', event => { if (event.key === 'Escape') tip.hidden = true; });
"""
