/** The style sheet of report.html: system fonts, light and dark, print. */
export const STYLE = `
:root{color-scheme:light dark;
--bg:#f6f7f9;--card:#fff;--ink:#1a2230;--soft:#5a6577;--line:#dde2e9;--accent:#1f5fbf;--code:#f1f3f6;
--pass:#1a7f42;--fail:#c4242b;--error:#b3410e;--crash:#8f1d6f;--timeout:#9a6200;--skip:#66707f;
--miss:#7a4fc0;--xfail:#4b6f8f;--xpass:#c4242b;--good:#1a7f42;--bad:#c4242b;--open:#9a6200}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){
--bg:#10141b;--card:#181e28;--ink:#e6eaf1;--soft:#9aa6b8;--line:#2b3442;--accent:#7db1ff;--code:#10151d;
--pass:#4cc57d;--fail:#ff7b7f;--error:#ff9a62;--crash:#ea83cf;--timeout:#e5b355;--skip:#98a4b5;
--miss:#b596f5;--xfail:#8fb6da;--xpass:#ff7b7f;--good:#4cc57d;--bad:#ff7b7f;--open:#e5b355}}
:root[data-theme=dark]{color-scheme:dark;
--bg:#10141b;--card:#181e28;--ink:#e6eaf1;--soft:#9aa6b8;--line:#2b3442;--accent:#7db1ff;--code:#10151d;
--pass:#4cc57d;--fail:#ff7b7f;--error:#ff9a62;--crash:#ea83cf;--timeout:#e5b355;--skip:#98a4b5;
--miss:#b596f5;--xfail:#8fb6da;--xpass:#ff7b7f;--good:#4cc57d;--bad:#ff7b7f;--open:#e5b355}
:root[data-theme=light]{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","DejaVu Sans",sans-serif}
main,header,footer{max-width:1240px;margin:0 auto;padding:0 24px}
header{display:flex;gap:16px;align-items:center;padding-top:20px;padding-bottom:12px}
header .mark{font-weight:700;letter-spacing:.02em}
header .what{color:var(--soft)}
header nav{margin-left:auto;display:flex;gap:14px;align-items:center;flex-wrap:wrap}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px 24px;margin:0 0 18px}
h1{font-size:34px;line-height:1.15;margin:0 0 6px}
h2{font-size:18px;margin:0 0 14px}h3{font-size:14px;margin:16px 0 6px}
p{margin:0 0 10px}small,.soft{color:var(--soft)}
.verdict{border-left:8px solid var(--tone);padding-left:22px}
.verdict h1{color:var(--tone)}.verdict .lead{font-size:17px;margin-bottom:16px}
.tone-good{--tone:var(--good)}.tone-bad{--tone:var(--bad)}.tone-open{--tone:var(--open)}
.targets{display:grid;grid-template-columns:repeat(auto-fit,minmax(270px,1fr));gap:14px;margin:6px 0 18px}
.target{border:1px solid var(--line);border-radius:8px;padding:12px 16px}
.target b{font-size:16px}.target .figure{font-size:26px;font-weight:650;font-variant-numeric:tabular-nums}
.bar{display:flex;height:10px;border-radius:5px;overflow:hidden;background:var(--line);margin:8px 0}
.bar i{display:block;min-width:2px}.bar i.s-skip{opacity:.45}
.meta{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:10px 22px;margin:0;font-size:14px}
.meta div.long{grid-column:1/-1}.meta dt{color:var(--soft);font-size:13px}.meta dd{margin:0;overflow-wrap:anywhere}
code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.9em}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:6px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:13px}
.wide{overflow-x:auto}
.facts th[scope=row]{width:190px}.facts td{overflow-wrap:anywhere}.facts td.differs{font-weight:600}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.chip{display:inline-block;min-width:58px;text-align:center;border-radius:999px;padding:1px 10px;font-size:13px;font-weight:600;
border:1px solid currentColor;color:var(--c)}
.chip.none{color:var(--soft);border-style:dashed;font-weight:400}
.chip.solid{background:var(--c);color:var(--card);border-color:var(--c)}
.s-pass{--c:var(--pass)}.s-fail{--c:var(--fail)}.s-error{--c:var(--error)}.s-crash{--c:var(--crash)}.s-timeout{--c:var(--timeout)}
.s-skip{--c:var(--skip)}.s-miss{--c:var(--miss)}.s-xfail{--c:var(--xfail)}.s-xpass{--c:var(--xpass)}
.bar i,svg .s-pass,svg .s-fail,svg .s-error,svg .s-crash,svg .s-timeout,svg .s-skip,svg .s-miss,svg .s-xfail,svg .s-xpass{background:var(--c);fill:var(--c)}
.filters{display:flex;gap:10px 12px;flex-wrap:wrap;align-items:center;margin:0 0 12px;position:sticky;top:0;background:var(--card);padding:8px 0;z-index:2}
.filters input,.filters select,button{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:7px;padding:5px 10px}
.filters input{flex:1 1 220px;min-width:160px}
button{cursor:pointer}button.status{color:var(--c);font-weight:600}
button.status[aria-pressed=true]{background:var(--c);color:var(--card);border-color:var(--c)}
.cases tbody.suite th{background:var(--bg);color:var(--ink)}
.cases td.id button{border:0;background:none;padding:0;text-align:left;font-weight:600;overflow-wrap:anywhere}
.cases td.id button::before{content:"\\25B8";display:inline-block;width:1.1em;color:var(--soft)}
.cases td.id button[aria-expanded=true]::before{content:"\\25BE"}
.cases td.id .title{display:block;padding-left:1.1em;color:var(--soft);font-size:14px}
.cases td.result{white-space:nowrap}.cases td.result small{display:block}
.sheets td,.sheets th{white-space:nowrap}
.clauses th[scope=row]{color:var(--ink)}.clauses th[scope=row]>div{display:grid;grid-template-columns:minmax(0,250px) minmax(0,1fr);gap:0 14px}
.clauses th span{overflow-wrap:anywhere}.clauses th span+span{font-weight:400;font-size:15px}.clauses th span+span small{display:block}
.clauses td{font-size:14px}.clauses td.result small{display:block;max-width:150px}.clauses td.result small a{padding:0 3px}
.divergence{border:1px solid var(--line);border-radius:8px;padding:6px 14px}.divergence .sides pre{white-space:pre;overflow-wrap:normal}
.divergence mark{display:inline-block;min-width:100%;background:color-mix(in srgb,var(--bad) 18%,transparent);color:inherit}
.fields td{overflow-wrap:anywhere}h4{margin:10px 0 4px;font-size:14px}.mark-diverged{color:var(--bad);font-weight:600}
details{margin:10px 0}summary{cursor:pointer;padding:4px 0}tr:target>*{background:var(--bg)}
.cases tr.detail>td{background:var(--bg);padding:14px 18px}
.per{display:grid;grid-template-columns:repeat(auto-fit,minmax(360px,1fr));gap:18px}
.per>div{min-width:0}
pre{background:var(--code);border:1px solid var(--line);border-radius:7px;padding:10px 12px;margin:4px 0 10px;max-height:420px;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
.reason{border-left:3px solid var(--c,var(--line));padding-left:10px;overflow-wrap:anywhere;white-space:pre-wrap}
.attention li{margin:6px 0;overflow-wrap:anywhere}.attention ul{padding-left:20px;margin:0}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}svg .label{fill:var(--ink)}
svg .axis{stroke:var(--line)}svg .stage{fill:var(--accent);opacity:.75}svg .stage.bad{fill:var(--fail);opacity:1}
.legend{display:flex;gap:14px;flex-wrap:wrap;font-size:13px;color:var(--soft);margin-top:6px}
.legend span::before{content:"";display:inline-block;width:10px;height:10px;border-radius:2px;background:var(--c,var(--accent));margin-right:6px}
footer{color:var(--soft);font-size:13px;padding-bottom:30px}
[hidden]{display:none!important}
.skip-link{position:absolute;left:-9999px}.skip-link:focus{left:12px;top:8px;background:var(--card);padding:6px 10px}
@media (max-width:640px){.clauses th[scope=row]>div{display:block}.clauses th span{display:block}main,header,footer{padding-left:12px;padding-right:12px}section{padding:14px}h1{font-size:26px}}
@media print{:root{--bg:#fff!important;--card:#fff!important;--ink:#000!important;--soft:#444!important;--line:#bbb!important}
body{font-size:11px}header nav,.filters,noscript{display:none!important}
section{border:0;padding:0;margin:0 0 14px;break-inside:auto}tr,.target{break-inside:avoid}pre{max-height:none}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
`;
