// Keeps a page live: when the server says that something changed, the page is fetched again and morphed
// into the one on screen, so that scroll, focus, open details and half-typed input stay. Without this
// script every page and form works by itself.
'use strict';

(() => {
  const GAP_MS = 1000; // between two refreshes: a person reads no faster
  let busy = false;
  let wanted = false;
  let last = 0;

  const sameKind = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName;

  function attributes(from, to) {
    for (const { name } of [...from.attributes]) {
      if (name === 'open' && from.nodeName === 'DETAILS') continue;
      if (!to.hasAttribute(name)) from.removeAttribute(name);
    }
    for (const { name, value } of [...to.attributes]) {
      if (name === 'open' && from.nodeName === 'DETAILS') continue;
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
  }

  // Makes `from` look like `to`; children are matched by id, else by place and kind.
  function morph(from, to) {
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    if (from.hasAttribute('data-keep')) return;
    attributes(from, to);
    const known = new Map();
    for (const child of from.children) if (child.id) known.set(child.id, child);
    let at = from.firstChild;
    for (const next of [...to.childNodes]) {
      const byId = next.id ? known.get(next.id) : undefined;
      let match = byId;
      if (!match && at && sameKind(at, next) && !at.id && !next.id) match = at;
      if (match && sameKind(match, next)) {
        if (match === at) at = at.nextSibling;
        else from.insertBefore(match, at);
        morph(match, next);
      } else {
        from.insertBefore(document.importNode(next, true), at);
      }
    }
    while (at) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
  }

  const status = (text, lost) => {
    const live = document.getElementById('live');
    if (!live) return;
    const words = text && live.dataset[text];
    if (live.textContent !== (words || '')) live.textContent = words || '';
    live.classList.toggle('lost', !!lost);
  };

  async function load(address) {
    const answer = await fetch(address, { headers: { accept: 'text/html' }, cache: 'no-store' });
    if (!(answer.headers.get('content-type') || '').startsWith('text/html')) throw new Error(address);
    const next = new DOMParser().parseFromString(await answer.text(), 'text/html');
    document.documentElement.lang = next.documentElement.lang;
    document.title = next.title;
    morph(document.body, next.body);
  }

  async function refresh() {
    if (busy) {
      wanted = true;
      return;
    }
    const wait = last + GAP_MS - performance.now();
    busy = true;
    wanted = false;
    try {
      if (wait > 0) await new Promise((done) => setTimeout(done, wait));
      if (!document.hidden) {
        await load(location.href);
        last = performance.now();
        status('live');
      } else {
        wanted = true;
      }
    } catch {
      status('offline', true);
    } finally {
      busy = false;
    }
    if (wanted && !document.hidden) refresh();
  }

  async function go(address, kind) {
    try {
      await load(address);
    } catch {
      location.assign(address);
      return;
    }
    history.pushState(null, '', address);
    const panel = kind === 'job' && document.getElementById('job-title');
    if (panel) {
      panel.focus({ preventScroll: true });
      panel.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
    } else if (kind === 'page') {
      window.scrollTo(0, 0);
      centreTimeline();
    }
  }

  // On a narrow screen the timeline scrolls: begin with now in sight.
  function centreTimeline() {
    const box = document.getElementById('timeline-scroll');
    if (box && box.scrollWidth > box.clientWidth) box.scrollLeft = (box.scrollWidth - box.clientWidth) / 4;
  }

  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target.closest('a[data-go]');
    if (!link) return;
    const href = link.getAttribute('href');
    if (!href || !href.startsWith('/')) return;
    event.preventDefault();
    const kind = link.dataset.go || (link.closest('.top') ? 'page' : '');
    go(href, kind);
  });

  document.addEventListener('submit', async (event) => {
    const form = event.target;
    if (!form.matches('form[data-live]')) return;
    event.preventDefault();
    const button = event.submitter;
    const action = (button && button.getAttribute('formaction')) || form.getAttribute('action');
    for (const open of form.querySelectorAll('details[open]')) open.open = false;
    try {
      const answer = await fetch(action, { method: 'POST', redirect: 'manual' });
      if (answer.type !== 'opaqueredirect' && !answer.ok) throw new Error(action);
      last = 0;
      refresh();
    } catch {
      status('offline', true);
    }
  });

  window.addEventListener('popstate', () => load(location.href).catch(() => location.reload()));
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) refresh();
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    const open = document.querySelector('details.speeds[open]');
    if (open) {
      open.open = false;
      return;
    }
    const close = document.querySelector('#job a.close');
    if (close) close.click();
  });

  // The server writes times in the reader's zone once it knows it.
  const zone = -new Date().getTimezoneOffset();
  const known = document.cookie.includes(`kc-tz=${zone}`);
  if (!known) document.cookie = `kc-tz=${zone}; path=/; max-age=31536000; samesite=lax`;
  centreTimeline();
  if (Number(document.body.dataset.zone) !== zone) refresh();

  const events = new EventSource('/api/v1/events');
  events.addEventListener('change', refresh);
  events.addEventListener('open', () => status('live'));
  events.addEventListener('error', () => status('offline', true));
})();
