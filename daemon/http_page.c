/* SPDX-License-Identifier: Apache-2.0
 *
 * http_page.c - the page at "/": it asks /v1/status every second and draws what it hears.
 *
 * One string, no outside resources (the content policy forbids them), no framework. */
#include "daemon/http.h"

/* clang-format off */
const char http_page[] =
"<!doctype html><html lang=en><meta charset=utf-8>"
"<meta name=viewport content='width=device-width,initial-scale=1'><title>ilorad</title>\n"
"<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;"
"max-width:64rem;padding:0 1rem}h1{font-size:1.3rem;margin:0}.row{display:flex;flex-wrap:wrap;"
"gap:1rem;margin:1rem 0}.box{flex:1 1 8rem;padding:.6rem .8rem;border:1px solid #8884;"
"border-radius:8px}.box b{display:block;font-size:1.4rem;font-weight:600;"
"font-variant-numeric:tabular-nums}.box span{color:#888;font-size:.85rem}table{border-collapse:"
"collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.25rem .6rem;"
"border-bottom:1px solid #8883}th:first-child,td:first-child{text-align:left}svg{width:100%;"
"height:90px}polyline{fill:none;stroke:#3a7bd5;stroke-width:1.5}form{margin:1rem 0}"
"input{font:inherit;padding:.2rem .4rem}pre{white-space:pre-wrap}</style>\n"
"<h1>ilorad <small id=state></small></h1><div class=row id=boxes></div>"
"<svg viewBox='0 0 300 90' preserveAspectRatio=none><polyline id=rate /></svg>"
"<table><thead><tr><th>model<th>kind<th>slice<th>events<th>HR@1<th>HR@10<th>NDCG@10<th>log loss"
"<tbody id=models></table>"
"<form id=ask><label>user <input id=user></label> <button>recommend</button></form>"
"<pre id=list></pre>\n"
"<script>\n"
"const $=i=>document.getElementById(i),rates=[],f=(x,d)=>x==null?'':x.toFixed(d);\n"
"const get=u=>fetch(u,location.hash?{headers:{Authorization:'Bearer '+location.hash.slice(1)}}:"
"{});\n"
"function box(k,v){const e=document.createElement('div'),b=document.createElement('b'),"
"s=document.createElement('span');e.className='box';b.textContent=v;s.textContent=k;"
"e.append(b,s);return e}\n"
"function row(cells){const r=document.createElement('tr');for(const c of cells){"
"const d=document.createElement('td');d.textContent=c;r.append(d)}return r}\n"
"async function draw(){try{const s=await(await get('/v1/status')).json();\n"
"$('state').textContent=s.state;\n"
"$('boxes').replaceChildren(box('events/s',f(s.events_per_second,0)),box('events',s.applied),"
"box('epoch',s.epoch),box('version in force',s.version_in_force),"
"box('predictions',s.predictions),box('loss, language model',f(s.learning.lm_loss,3)),"
"box('loss, SASRec',f(s.learning.sasrec_loss,3)),"
"box('learner behind',Math.max(0,s.seq-s.learner_seq)),box('lag',s.lag));\n"
"rates.push(s.events_per_second||0);if(rates.length>300)rates.shift();"
"const m=Math.max(1,...rates);$('rate').setAttribute('points',rates.map((v,i)=>"
"(300-rates.length+i)+','+(88-86*v/m)).join(' '));\n"
"$('models').replaceChildren(...s.figures.map(g=>row([g.model,g.kind,g.slice,g.count,f(g.hit_1,4),"
"f(g.hit_10,4),f(g.ndcg_10,4),f(g.log_loss,3)])));\n"
"}catch(e){$('state').textContent='no answer'}}\n"
"$('ask').onsubmit=async e=>{e.preventDefault();const r=await(await get('/v1/recommend/'+"
"encodeURIComponent($('user').value))).json();$('list').textContent=r.error||r.items.map(i=>"
"i.rank+'. '+(i.title||i.item)+'  '+f(i.score,3)+'  '+i.source).join('\\n')};\n"
"draw();setInterval(draw,1000);\n"
"</script></html>\n";
/* clang-format on */
