/** The last lines of the log, and new ones as they come. */

import { element } from '../../parts/dom.js'
import { ask } from '../api.js'

/** Lines that stay on the page. */
const LINES_MAX = 2000

/** @type {import('../console.js').MakeView} */
export function logView(content) {
  const bar = element('div', 'bar')
  const find = /** @type {HTMLInputElement} */ (element('input'))
  find.placeholder = 'Only lines with'
  find.setAttribute('aria-label', 'Only lines with')
  const lines = element('pre', 'lines')
  lines.tabIndex = 0
  lines.setAttribute('role', 'log')
  lines.setAttribute('aria-label', 'Log')
  bar.append(find)
  content.append(element('h1', '', 'Log'), bar, lines)
  const filter = (/** @type {HTMLElement} */ line) => (line.hidden = !line.textContent?.includes(find.value))
  find.addEventListener('input', () => [...lines.children].forEach((line) => filter(/** @type {HTMLElement} */ (line))))
  let last = 0
  return {
    everyMs: 1000,
    async refresh() {
      const answer = await ask('GET', `/console/api/log?after=${last}`)
      const isAtEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 40
      for (const { number, text } of answer.lines) {
        const level = text.match(/\b(ERROR|WARN|INFO|DEBUG|TRACE)\b/)?.[1] ?? ''
        const line = element('span', level, `${text}\n`)
        filter(line)
        lines.append(line)
        last = Math.max(last, number)
      }
      while (lines.children.length > LINES_MAX) lines.firstElementChild?.remove()
      if (isAtEnd) lines.scrollTop = lines.scrollHeight
    },
  }
}
