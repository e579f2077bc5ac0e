/** What is being sent in every app, and a look at it. */

import { byId, element } from '../../parts/dom.js'
import { FlvPlayer } from '../../parts/flv.js'
import { Plot, rate } from '../../parts/plot.js'
import { appPath, apps, ask, list } from '../api.js'
import { button, makeTable, row } from './parts.js'

/** How long the ticket for a look is good, in seconds. */
const LOOK_S = 60

/** @type {import('../console.js').MakeView} */
export function streamsView(content, tell) {
  const streams = makeTable(['Stream', 'Room', 'User', 'By', 'Picture', 'Sound', ''], 'Nobody sends anything.')
  content.append(element('h1', '', 'Streams'), streams.element)
  const medium = (/** @type {any} */ track) => (track ? `${track.codec}${track.muted ? ', muted' : ''}` : 'none')
  return {
    everyMs: 2000,
    async refresh() {
      const known = await apps()
      const all = await Promise.all(known.map(async ({ sdkAppID }) => (await list(`/api/v1/apps/${sdkAppID}/streams`, 'streams')).map((stream) => ({ app: sdkAppID, ...stream }))))
      streams.fill(
        all.flat().map(({ app, name, roomID, userID, protocol, audio, video }) => {
          const line = row(name, String(roomID), userID, protocol, medium(video), medium(audio), button(`watch ${name}`, 'Watch', () => watch(app, roomID, name).catch(tell)))
          line.lastElementChild?.classList.add('acts')
          line.dataset.stream = name
          return line
        }),
      )
    },
  }
}

/** Plays a stream with a ticket of a minute, and plots what comes. @param {number} app @param {string | number} roomID @param {string} name */
async function watch(app, roomID, name) {
  // Apps that only verify tickets issue none; where playing is open none is needed.
  const ticket = await ask('POST', appPath(app, 'tickets'), { userID: 'console', roomID, expire: LOOK_S, privilege: 8 + 32 + 128 + 2 }).catch(() => null)
  const query = ticket ? `?${new URLSearchParams({ userid: 'console', usersig: ticket.userSig, privatemapkey: ticket.privateMapKey })}` : ''
  const url = `${location.origin}/live/${name.split('_').map(encodeURIComponent).join('_')}.flv${query}`
  const dialog = byId('watch')
  const video = byId('watch-video')
  byId('watch-title').textContent = name
  byId('watch-problem').textContent = ''
  const bits = new Plot(rate)
  const frames = new Plot((fps) => `${Math.round(fps)} /s`, 5)
  bits.setLabel('Bitrate')
  frames.setLabel('Pictures')
  byId('watch-plots').replaceChildren(bits.element, frames.element)
  const player = new FlvPlayer(video, url, (message) => (byId('watch-problem').textContent = message))
  let [bytesBefore, framesBefore, at] = [0, 0, performance.now()]
  const timer = setInterval(() => {
    const now = performance.now()
    const seconds = (now - at) / 1000
    const shown = video.getVideoPlaybackQuality().totalVideoFrames
    const bytes = player.receivedBytes
    bits.add(Math.max(0, (8 * (bytes - bytesBefore)) / seconds))
    frames.add(Math.max(0, (shown - framesBefore) / seconds))
    ;[bytesBefore, framesBefore, at] = [bytes, shown, now]
  }, 1000)
  byId('watch-close').onclick = () => dialog.close()
  dialog.addEventListener(
    'close',
    () => {
      clearInterval(timer)
      player.stop()
    },
    { once: true },
  )
  dialog.showModal()
}
