/** Rooms of every app, who is in them, and keeping order. */

import { element } from '../../parts/dom.js'
import { appPath, apps, ask, list } from '../api.js'
import { button, makeTable, row, sure } from './parts.js'

/** @type {import('../console.js').MakeView} */
export function roomsView(content, tell) {
  const heading = element('h1', '', 'Rooms')
  const bar = element('div', 'bar')
  const rooms = makeTable(['App', 'Room', 'Members', 'Streams', 'Owner', 'State', ''], 'No room is open. Whoever enters one makes it.')
  const detail = element('section')
  content.append(heading, bar, rooms.element, detail)
  const find = /** @type {HTMLInputElement} */ (element('input'))
  find.placeholder = 'Find a room'
  find.setAttribute('aria-label', 'Find a room')
  find.addEventListener('input', () => refresh().catch(tell))
  bar.append(find)

  /** @type {{ app: number, roomID: string | number } | null} */ let open = null
  const members = makeTable(['Member', 'Name', 'Role', 'By', 'Sends', ''], 'Nobody is in it.')

  /** @param {string} method @param {string} path @param {object} [body] */
  const act = async (method, path, body) => {
    try {
      await ask(method, path, body)
      await refresh()
    } catch (error) {
      tell(error)
    }
  }

  async function refresh() {
    const known = await apps()
    const all = await Promise.all(known.map(async ({ sdkAppID, name }) => (await list(`/api/v1/apps/${sdkAppID}/rooms`, 'rooms')).map((room) => ({ app: sdkAppID, appName: name, ...room }))))
    const shown = all.flat().filter(({ roomID }) => String(roomID).includes(find.value))
    rooms.fill(
      shown.map(({ app, appName, roomID, memberCount, streamCount, owner, locked, lasting }) => {
        const path = appPath(app, 'rooms', roomID)
        const acts = element('span')
        acts.append(
          button(`open ${app} ${roomID}`, 'Members', () => {
            open = { app, roomID }
            refresh().catch(tell)
          }),
          button(`lock ${app} ${roomID}`, locked ? 'Unlock' : 'Lock', () => act('PATCH', path, { locked: !locked })),
          button(`dissolve ${app} ${roomID}`, 'Dissolve', async () => {
            if (await sure(`Dissolve room ${roomID}?`, 'Everybody is sent away, and its bans, metadata and history are forgotten.', 'Dissolve')) act('DELETE', path)
          }),
        )
        const line = row(`${appName} (${app})`, String(roomID), memberCount, streamCount, owner ?? '', [locked && 'locked', lasting && 'lasting'].filter(Boolean).join(', ') || 'open', acts)
        line.lastElementChild?.classList.add('acts')
        line.dataset.room = String(roomID)
        return line
      }),
    )
    await showMembers()
  }

  async function showMembers() {
    if (!open) return
    const { app, roomID } = open
    const room = await ask('GET', appPath(app, 'rooms', roomID)).catch(() => null)
    if (!room) {
      open = null
      return detail.replaceChildren()
    }
    if (!detail.contains(members.element) || detail.dataset.room !== `${app}/${roomID}`) {
      detail.dataset.room = `${app}/${roomID}`
      detail.replaceChildren(element('h2', '', `Room ${roomID}`), members.element, messageForm(app, roomID))
    }
    members.fill(
      room.members.map((/** @type {any} */ { userID, name, role, protocol, streams, silenced }) => {
        const path = (/** @type {string[]} */ ...parts) => appPath(app, 'rooms', roomID, 'members', userID, ...parts)
        const isSilent = Boolean(silenced?.audio && silenced?.video)
        const acts = element('span')
        if (protocol !== 'test')
          acts.append(
            button(`mute ${userID}`, isSilent ? 'Unmute' : 'Mute', () => (isSilent ? act('DELETE', path('mute')) : act('PUT', path('mute'), { audio: true, video: true, messages: true }))),
            button(`kick ${userID}`, 'Kick', () => act('POST', path('kick'))),
            button(`ban ${userID}`, 'Ban', async () => {
              if (await sure(`Ban ${userID} from room ${roomID}?`, 'He is sent away and kept out as long as the room exists.', 'Ban')) act('PUT', appPath(app, 'rooms', roomID, 'bans', userID))
            }),
          )
        const sends = streams.map((/** @type {any} */ { stream, audio, video }) => `${stream}: ${[video?.codec, audio?.codec].filter(Boolean).join(' + ')}`).join('; ')
        const line = row(userID, name || '', role, protocol, sends || 'nothing', acts)
        line.lastElementChild?.classList.add('acts')
        line.dataset.member = userID
        return line
      }),
    )
  }

  /** @param {number} app @param {string | number} roomID */
  function messageForm(app, roomID) {
    const form = element('form', 'bar')
    form.style.marginTop = '12px'
    const text = /** @type {HTMLInputElement} */ (element('input'))
    text.placeholder = 'Say something to the room'
    text.setAttribute('aria-label', 'Say something to the room')
    text.required = true
    const send = element('button', 'secondary small', 'Send')
    form.append(text, send)
    form.addEventListener('submit', async (event) => {
      event.preventDefault()
      await ask('POST', appPath(app, 'rooms', roomID, 'messages'), { text: text.value }).then(() => (text.value = ''), tell)
    })
    return form
  }

  return { everyMs: 2000, refresh }
}
