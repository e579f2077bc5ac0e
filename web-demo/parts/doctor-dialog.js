/** The doctor's dialog: what was found, in green, amber or red, and what to do. */

import { byId, element, icon } from './dom.js'
import { CHECKS, examine } from './doctor.js'
import { t } from './words.js'

let isRunning = false

/** Opens the dialog and begins. @param {import('../sdk/roomcast.js').Ticket | null} ticket  null where the demo app gives one */
export async function showDoctor(ticket) {
  const dialog = byId('doctor')
  byId('doctor-close').onclick = () => dialog.close()
  byId('doctor-again').onclick = () => run(ticket)
  if (!dialog.open) dialog.showModal()
  await run(ticket)
}

/** @param {import('../sdk/roomcast.js').Ticket | null} ticket */
async function run(ticket) {
  if (isRunning) return
  isRunning = true
  byId('doctor-again').disabled = true
  const verdict = byId('verdict')
  verdict.dataset.verdict = 'running'
  verdict.textContent = t('doctor-running')
  /** @type {Map<string, HTMLElement>} */
  const rows = new Map(CHECKS.map((id) => [id, element('li')]))
  byId('checks').replaceChildren(...rows.values())
  const worst = await examine(ticket, ({ id, name, verdict: found, text, advice }) => {
    const row = rows.get(id)
    if (!row) return
    row.dataset.check = id
    row.dataset.verdict = found
    const mark = element('span', 'mark')
    if (found !== 'running') mark.append(icon({ good: 'check', warn: 'alert', bad: 'close' }[found]))
    const words = element('div')
    words.append(element('b', '', name), element('span', '', text))
    if (advice) words.append(element('small', '', advice))
    row.replaceChildren(mark, words)
  })
  verdict.dataset.verdict = worst
  verdict.textContent = t(`doctor-${worst}`)
  byId('doctor-again').disabled = false
  isRunning = false
}
