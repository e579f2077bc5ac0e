/** The operator's console: one view at a time, each asked for again every few seconds as long as it is seen. */

import { byId, element } from '../parts/dom.js'
import { isLoggedIn, login, logout, whenLoggedOut } from './api.js'
import { configView } from './views/config.js'
import { logView } from './views/log.js'
import { overviewView } from './views/overview.js'
import { roomsView } from './views/rooms.js'
import { streamsView } from './views/streams.js'
import { ticketsView } from './views/tickets.js'

/**
 * A view draws itself into an element, and again when `refresh` is called.
 * @typedef {{ refresh: () => Promise<void>, everyMs: number | null }} View  `everyMs` null: only once
 * @typedef {(content: HTMLElement, tell: (error: unknown) => void) => View} MakeView
 */

/** @type {Record<string, MakeView>} */
const VIEWS = { overview: overviewView, rooms: roomsView, streams: streamsView, tickets: ticketsView, log: logView, config: configView }
const TOAST_MS = 7000

/** @type {ReturnType<typeof setTimeout> | undefined} */ let next
/** The view that is seen; answers for an earlier one are dropped. */ let turn = 0

function showLogin() {
  clearTimeout(next)
  turn++
  byId('login').hidden = false
  byId('inside').hidden = byId('logout').hidden = true
  byId('uptime').textContent = ''
  byId('password').focus()
}

function showInside() {
  byId('login').hidden = true
  byId('inside').hidden = byId('logout').hidden = false
  openView()
}

function openView() {
  if (!isLoggedIn()) return
  clearTimeout(next)
  const mine = ++turn
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : 'overview'
  for (const link of document.querySelectorAll('.side a')) {
    if (link.getAttribute('href') === `#${name}`) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  document.title = `roomcast console: ${name}`
  const content = byId('content')
  content.replaceChildren()
  const view = VIEWS[name](content, tell)
  let wasWell = true
  const again = async () => {
    await view.refresh().then(
      () => (wasWell = true),
      (error) => {
        // Said once, and not again with every try.
        if (mine === turn && wasWell) tell(error)
        wasWell = false
      },
    )
    if (mine === turn && view.everyMs !== null && isLoggedIn()) next = setTimeout(again, view.everyMs)
  }
  again()
}

/** Shows what went wrong. @param {any} error */
function tell({ code = '', message = '', advice = '' }) {
  const toast = element('div', 'toast')
  toast.dataset.code = String(code)
  toast.append(element('b', '', message), element('small', '', [advice, code && `Code ${code}.`].filter(Boolean).join(' ')))
  for (const older of byId('toasts').querySelectorAll(`[data-code="${CSS.escape(String(code))}"]`)) older.remove()
  byId('toasts').append(toast)
  setTimeout(() => toast.remove(), TOAST_MS)
}

byId('login-form').addEventListener('submit', async (/** @type {Event} */ event) => {
  event.preventDefault()
  const problem = byId('login-problem')
  problem.textContent = ''
  try {
    await login(byId('password').value)
    byId('password').value = ''
    showInside()
  } catch (error) {
    const { code, message, advice } = /** @type {any} */ (error)
    problem.textContent = code === 71011 ? 'That is not the password.' : `${message} ${advice ?? ''}`
    byId('password').select()
  }
})
byId('logout').addEventListener('click', logout)
addEventListener('hashchange', openView)
whenLoggedOut(showLogin)
if (isLoggedIn()) showInside()
else showLogin()
