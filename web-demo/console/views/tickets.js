/** Tickets for anybody in any app, as its own server would issue them. */

import { element } from '../../parts/dom.js'
import { copy } from '../../parts/connect.js'
import { appPath, apps, ask } from '../api.js'

/** What the bits of a privateMapKey say (PROTOCOL.md). */
const BITS = { 1: 'create the room', 2: 'enter it', 4: 'send sound', 8: 'hear', 16: 'send a picture', 32: 'see', 64: 'share the screen', 128: 'see screens', 256: 'keep order' }
const EVERYTHING_BUT_ORDER = 255

/** @type {import('../console.js').MakeView} */
export function ticketsView(content, tell) {
  const form = /** @type {HTMLFormElement} */ (element('form'))
  const fields = element('div', 'form')
  const app = /** @type {HTMLSelectElement} */ (element('select'))
  const user = input('text', 'alice')
  const room = input('text', '1001')
  const hours = input('number', '24')
  hours.min = '1'
  fields.append(field('App', app), field('User', user), field('Room, if any', room), field('Good for, in hours', hours))
  user.required = true
  const bits = element('fieldset', 'bar')
  bits.append(element('legend', '', 'May'))
  for (const [bit, text] of Object.entries(BITS)) {
    const label = element('label')
    const box = input('checkbox', bit)
    box.checked = (EVERYTHING_BUT_ORDER & Number(bit)) !== 0
    label.append(box, ` ${text}`)
    bits.append(label)
  }
  const result = element('div', 'result')
  form.append(fields, bits, element('button', 'primary', 'Issue'))
  content.append(element('h1', '', 'Tickets'), form, result)

  form.addEventListener('submit', async (event) => {
    event.preventDefault()
    const privilege = [...bits.querySelectorAll('input')].filter(({ checked }) => checked).reduce((sum, { value }) => sum + Number(value), 0)
    const roomID = /^[1-9]\d*$/.test(room.value) ? Number(room.value) : room.value
    try {
      const ticket = await ask('POST', appPath(Number(app.value), 'tickets'), { userID: user.value, expire: Math.round(Number(hours.value) * 3600), ...(room.value && { roomID, privilege }) })
      show(ticket)
    } catch (error) {
      tell(error)
    }
  })

  /** @param {any} ticket */
  function show({ sdkAppID, userID, userSig, roomID, privateMapKey }) {
    const query = new URLSearchParams({ sdkAppID, userID, userSig, ...(roomID && { roomID, privateMapKey }) })
    const push = new URLSearchParams({ sdkappid: sdkAppID, userid: userID, usersig: userSig, ...(privateMapKey && { privatemapkey: privateMapKey }) })
    const lines = [['userSig', userSig], ...(roomID ? [['privateMapKey', privateMapKey], ['Page', `${location.origin}/#${query}`], ['RTMP push', `rtmp://${location.hostname}/push/${encodeURIComponent(roomID)}?${push}`]] : [])]
    result.replaceChildren(
      ...lines.map(([name, text]) => {
        const line = element('div')
        const code = element('code', '', text)
        const button = element('button', 'quiet small')
        const label = element('span', '', 'Copy')
        label.dataset.t = 'copy'
        button.append(label)
        button.addEventListener('click', () => copy(button, text, code))
        line.append(element('small', '', name), code, button)
        line.dataset.line = name
        return line
      }),
    )
  }

  return {
    everyMs: null,
    async refresh() {
      app.replaceChildren(...(await apps()).map(({ sdkAppID, name }) => new Option(`${name} (${sdkAppID})`, String(sdkAppID))))
    },
  }
}

/** @param {string} type @param {string} value */
function input(type, value) {
  const made = /** @type {HTMLInputElement} */ (element('input'))
  made.type = type
  made.value = value
  return made
}

/** @param {string} text @param {HTMLElement} control */
function field(text, control) {
  const label = element('label', 'field')
  label.append(element('span', '', text), control)
  return label
}
