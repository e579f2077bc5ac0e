/** What several views draw: tables, buttons, questions. */

import { byId, element } from '../../parts/dom.js'

/**
 * A table that is filled again and again.
 * @param {string[]} heads @param {string} nothing  what to say when it is empty
 */
export function makeTable(heads, nothing) {
  const scroller = element('div', 'scroller')
  scroller.tabIndex = 0
  const table = element('table')
  const head = element('thead')
  const row = element('tr')
  for (const text of heads) {
    const cell = /** @type {HTMLTableCellElement} */ (element('th', '', text))
    cell.scope = 'col'
    row.append(cell)
  }
  head.append(row)
  const body = element('tbody')
  table.append(head, body)
  const empty = element('p', 'nothing-here', nothing)
  scroller.append(table, empty)
  return {
    element: scroller,
    /** @param {HTMLElement[]} rows */
    fill(rows) {
      const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.act
      // A row that says the same as before stays: a button must not go from under the pointer.
      const before = new Map([...body.children].map((old) => [old.outerHTML, old]))
      const wanted = rows.map((fresh) => before.get(fresh.outerHTML) ?? fresh)
      if (wanted.length !== body.children.length || wanted.some((one, index) => body.children[index] !== one)) body.replaceChildren(...wanted)
      table.hidden = rows.length === 0
      empty.hidden = rows.length > 0
      // Who is at a button stays there when the table is drawn again.
      if (focused && !body.contains(document.activeElement)) /** @type {HTMLElement | null} */ (body.querySelector(`[data-act="${CSS.escape(focused)}"]`))?.focus()
    },
  }
}

/** @param {...(string | number | Node)} cells */
export function row(...cells) {
  const line = element('tr')
  for (const cell of cells) {
    const place = element('td')
    place.append(typeof cell === 'number' ? String(cell) : cell)
    line.append(place)
  }
  return line
}

/** A small button; `act` names it, so that it is found again. @param {string} act @param {string} text @param {() => unknown} press */
export function button(act, text, press) {
  const made = /** @type {HTMLButtonElement} */ (element('button', 'quiet small', text))
  made.type = 'button'
  made.dataset.act = act
  made.addEventListener('click', () => press())
  return made
}

/** Asks before what cannot be undone. @param {string} title @param {string} text @param {string} yes @returns {Promise<boolean>} */
export function sure(title, text, yes) {
  const dialog = byId('sure')
  byId('sure-title').textContent = title
  byId('sure-text').textContent = text
  byId('sure-yes').textContent = yes
  dialog.returnValue = ''
  dialog.showModal()
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }))
}

/** @param {number} seconds */
export function duration(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60]
  if (days > 0) return `${days} d ${hours} h`
  if (hours > 0) return `${hours} h ${minutes} min`
  return minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`
}

/** @param {number} bytes */
export const size = (bytes) => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`)
