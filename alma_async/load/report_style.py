"""The style of the report in HTML, light, dark and on paper: a style sheet, and
its digest for the policy.

Decides no content. All colours of text have a contrast of 4.5 to 1 or more to what is
behind them, in both schemes.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

__all__ = ["DIGEST", "STYLE"]

_LIGHT: Final = (
    "--ground:#f6f7f9;--card:#fff;--text:#1b1e23;--faint:#586069;--line:#d8dce2;--link:#0b57b0;--area:#cfe1fa;--edge:#1f6fd0;"
    "--good:#146c43;--warn:#8a4b00;--bad:#b3261e;--goodbg:#e2f4ea;--warnbg:#fff1d9;--plainbg:#e8eef8;"
    "--created:#2b8a57;--updated:#2f74c9;--deleted:#8957a8;--unchanged:#a9b1bc;--known:#c7ccd4;--review:#d98200;--rejected:#c93a31;"
    "--duplicate:#7b8794;--undone:#5c6570;--pending:#dcdfe5;"
)
_DARK: Final = (
    "--ground:#111418;--card:#1a1e24;--text:#e6e9ed;--faint:#a4adb8;--line:#333a44;--link:#8ab8ff;--area:#21406b;--edge:#7fb2ff;"
    "--good:#7ddba6;--warn:#ffc36b;--bad:#ff9b93;--goodbg:#16301f;--warnbg:#3a2a10;--plainbg:#1e2a3d;"
    "--created:#4fb680;--updated:#6ba4ee;--deleted:#b58ad3;--unchanged:#6b7480;--known:#4c545f;--review:#f0a63a;--rejected:#ef6b62;"
    "--duplicate:#8f9aa7;--undone:#a4adb8;--pending:#3c434d;"
)
_KINDS: Final = "created updated deleted unchanged known review rejected duplicate undone pending"
STYLE: Final = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--text);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1.25rem}
header{margin-bottom:1rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .75rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:0 0 .75rem}
.kind{margin:0;color:var(--faint);font-size:.85rem;letter-spacing:.02em}
.verdict{display:inline-block;margin:0;padding:.5rem .9rem;border-radius:.5rem;
border-left:.3rem solid var(--edge);background:var(--plainbg)}
.verdict.good{background:var(--goodbg);border-color:var(--good)}
.verdict.warn{background:var(--warnbg);border-color:var(--warn)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1.1rem;list-style:none;margin:0 0 1rem;padding:0;font-size:.9rem}
a{color:var(--link)}
a:focus-visible,.scroll:focus-visible{outline:2px solid var(--edge);outline-offset:2px}
section{background:var(--card);border:1px solid var(--line);border-radius:.75rem;padding:1.25rem;margin:0 0 1rem}
.count{color:var(--faint);font-weight:400;font-variant-numeric:tabular-nums}
.bar{display:block;width:100%;height:.9rem;border-radius:.45rem;margin-bottom:1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.75rem;margin:0}
.tiles dt{color:var(--faint);font-size:.9rem}
.tiles dd{margin:0;font-size:1.5rem;font-weight:600;line-height:1.3;font-variant-numeric:tabular-nums}
.dot{display:inline-block;width:.7rem;height:.7rem;border-radius:.2rem;margin-right:.4rem}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(17rem,1fr));gap:.75rem 1.5rem;margin:0}
.facts dt{color:var(--faint);font-size:.85rem}
.facts dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin-bottom:1rem}
section>:last-child{margin-bottom:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;font-weight:600;padding-bottom:.4rem}
caption .note{font-weight:400;margin-left:.6rem}
th,td{padding:.45rem .75rem .45rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}
thead th{color:var(--faint);font-weight:600;font-size:.85rem;white-space:nowrap}
tbody th{font-weight:400}
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tbody th.num{padding-right:1.25rem}
td.num,thead th.num{padding-right:0}
th:not(:first-child).num,td.num{padding-left:1.25rem}
.rows{table-layout:fixed;min-width:46rem}
.rows thead th:nth-child(1){width:4.5rem}
.rows thead th:nth-child(2){width:27%}
.rows thead th:nth-child(4){width:30%}
.three :is(td,th):nth-child(4){display:none}
.rows td{overflow-wrap:anywhere}
.rows th.num{text-align:left;white-space:normal}
.ids,.note{color:var(--faint);font-size:.87rem}
p.note{margin:.25rem 0}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;
background:var(--plainbg);padding:.05em .3em;border-radius:.25rem}
.changes{margin:0}
.changes dt{color:var(--faint);font-size:.85rem}
.changes dd{margin:0 0 .35rem}
del{text-decoration:none}
.said{display:block}
ins{text-decoration:none;font-weight:600}
.hear{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
figure{margin:0 0 1rem}
figcaption{margin-bottom:.5rem}
.chart{display:block;width:100%;height:auto}
.chart text{font-size:12px;fill:var(--faint)}
.grid{stroke:var(--line);stroke-width:1}
.area{fill:var(--area)}
.edge{fill:none;stroke:var(--edge);stroke-width:1.5}
.mark{fill:var(--bad)}
line.resumed{stroke:var(--faint);stroke-dasharray:4 3}
.spark{display:block;width:10rem;height:1.5rem}
.spark .area{stroke:var(--edge);stroke-width:.8}
footer{max-width:72rem;margin:0 auto;padding:0 1.25rem 2rem;color:var(--faint);font-size:.85rem}
"""
    + "".join(
        f"rect.{kind}{{fill:var(--{kind})}}.{kind}>dt>.dot{{background:var(--{kind})}}"
        for kind in _KINDS.split()
    )
    + f"""
@media print{{:root{{color-scheme:light;{_LIGHT}--ground:#fff}}
body{{font-size:10pt}}
main,footer{{max-width:none;padding:0}}
nav{{display:none}}
section{{border:0;border-top:1px solid var(--line);border-radius:0;padding:.8rem 0;margin:0}}
.scroll{{overflow:visible}}
.rows{{min-width:0}}
tr,figure,.tiles,.facts>div{{break-inside:avoid}}
h2,caption{{break-after:avoid}}
thead{{display:table-header-group}}
a{{color:inherit;text-decoration:none}}
.bar,.dot,.verdict,svg{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
@page{{margin:15mm}}}}
"""
)
DIGEST: Final = b64encode(sha256(STYLE.encode()).digest()).decode()
