/**
 * The demo page: a lobby, and a room. The room is drawn from what the library knows (`refresh`), whatever event it was that
 * changed it; so there is one place that decides what is seen.
 */

import { Room, RoomcastError } from './sdk/roomcast.js'
import { openDevices, openScreen } from './parts/devices.js'
import { FlvPlayer } from './parts/flv.js'
import { Panel, copy } from './parts/panel.js'
import { Stage } from './parts/stage.js'
import { Addresses, demoTicket, fromAddress, roomLink, signalAddress, userIDFor } from './parts/ticket.js'

/** The member that the server itself plays into the demo room. */
const TEST_STREAM = { roomID: '1001', userID: 'teststream' }
/** Enough for 720p; more would only starve the others on a shared line. In bits per second. */
const CAMERA_BPS_MAX = 1_800_000
const SCREEN_BPS_MAX = 2_500_000
/** How often figures and speaking are brought up to date, in milliseconds. */
const MEASURE_MS = 500
/** How long a message stays, in milliseconds. */
const TOAST_MS = 9000
/** Room changes that the page is drawn again for. */
const CHANGES = ['member-entered', 'member-left', 'stream-added', 'stream-changed', 'stream-removed', 'muted', 'media']

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id))

const address = fromAddress()
const stage = new Stage(byId('stage'))
const panel = new Panel(byId('panel'))

/** @type {Room | null} */ let room = null
/** @type {Addresses | null} */ let addresses = null
/** @type {FlvPlayer | null} */ let preview = null
/** @type {ReturnType<typeof setInterval> | undefined} */ let measuring
/** What we send. A camera that is switched off is really off: its track has ended. */
const own = {
  name: '',
  audio: /** @type {MediaStreamTrack | null} */ (null),
  video: /** @type {MediaStreamTrack | null} */ (null),
  screen: /** @type {MediaStreamTrack[]} */ ([]),
  isMuted: false,
  main: new MediaStream(),
  aux: new MediaStream(),
}

// ------------------------------------------------------------------------------------------------------ lobby

/** A ticket asked for while the person still looks at the page, so that joining waits for nothing. */
let early = { key: '', ticket: /** @type {Promise<any>} */ (Promise.resolve(null)) }

function openLobby() {
  document.body.dataset.view = 'lobby'
  for (const element of document.querySelectorAll('[data-for]')) /** @type {HTMLElement} */ (element).hidden = /** @type {HTMLElement} */ (element).dataset.for !== 'lobby'
  document.title = `roomcast: room ${byId('room-input').value}`
  setBusy(false)
  const ticket = ticketFor(byId('name').value, byId('room-input').value)
  ticket.then(showPreview, (error) => complain(RoomcastError.from(error)))
}

/** @param {string} name @param {string} roomID @returns {Promise<any>} */
function ticketFor(name, roomID) {
  if (address.ticket) return Promise.resolve(address.ticket)
  const key = `${roomID}/${name}`
  if (early.key !== key) early = { key, ticket: demoTicket(roomID, userIDFor(name)) }
  early.ticket.catch(() => (early.key = '')) // a failed one is asked for again
  return early.ticket
}

/** @param {import('./sdk/roomcast.js').Ticket} ticket */
function showPreview(ticket) {
  if (document.body.dataset.view !== 'lobby' || String(ticket.roomID) !== TEST_STREAM.roomID || !FlvPlayer.isSupported) return
  const video = byId('preview')
  preview?.stop()
  preview = new FlvPlayer(video, new Addresses(ticket).flv(TEST_STREAM.userID, 'main'))
  video.onplaying = () => video.parentElement.toggleAttribute('data-playing', true)
}

/** @param {boolean} isBusy */
function setBusy(isBusy) {
  byId('join').disabled = isBusy
  byId('join-viewer').disabled = isBusy
}

/** @param {boolean} withDevices */
async function join(withDevices) {
  if (!byId('join-form').reportValidity()) return
  setBusy(true)
  own.name = byId('name').value.trim()
  if (!address.ticket) remember(own.name)
  // Asked at once, while the click still counts; nobody's picture waits for the answer.
  const devices = withDevices ? openDevices({ audio: true, video: true }) : null
  try {
    const ticket = await ticketFor(own.name, byId('room-input').value.trim())
    early.key = '' // one userID, one visit
    addresses = new Addresses(ticket)
    room = await Room.connect(signalAddress())
    for (const change of CHANGES) room.on(change, refresh)
    room.on('error', ({ error }) => complain(error))
    room.on('transport', onTransport)
    room.on('closed', onClosed)
    await room.enter({ ...ticket, name: own.name })
    openRoom()
    panel.showConnect(addresses, address.ticket === null).catch((error) => complain(RoomcastError.from(error)))
  } catch (error) {
    room?.leave()
    room = null
    complain(RoomcastError.from(error))
    devices?.then(({ tracks }) => tracks.forEach((track) => track.stop()))
    return setBusy(false)
  }
  if (devices) await takePart(await devices)
}

// ------------------------------------------------------------------------------------------------------- room

function openRoom() {
  if (!room) return
  preview?.stop()
  document.body.dataset.view = 'room'
  for (const element of document.querySelectorAll('[data-for]')) /** @type {HTMLElement} */ (element).hidden = /** @type {HTMLElement} */ (element).dataset.for !== 'room'
  byId('room-name').textContent = String(room.roomID)
  document.title = `roomcast: room ${room.roomID}`
  history.replaceState(null, '', address.ticket ? location.href : roomLink(room.roomID))
  measuring = setInterval(measure, MEASURE_MS)
  byId('stage').focus()
  refresh()
}

/** Draws the room as it is. */
function refresh() {
  if (!room || !addresses) return
  const wanted = new Set()
  for (const { userID, name, protocol, streams } of room.members.values())
    for (const info of streams) {
      const key = `${info.stream}/${userID}`
      wanted.add(key)
      const title = info.stream === 'aux' ? `${name}, screen` : name
      const tile = stage.tile(key, { name: title, protocol, flvUrl: addresses.flv(userID, info.stream) })
      tile.describe(info)
      tile.show(room.mediaStream(userID, info.stream))
    }
  for (const info of ownStreams()) {
    const isScreen = info.stream === 'aux'
    const key = `own/${info.stream}`
    wanted.add(key)
    const flvUrl = addresses.flv(room.userID, info.stream)
    const tile = stage.tile(key, { name: isScreen ? 'Your screen' : `${own.name} (you)`, protocol: 'webrtc', isSelf: true, isMirrored: !isScreen, flvUrl })
    tile.describe(info)
    tile.show(own[info.stream])
  }
  for (const key of stage.keys()) if (!wanted.has(key)) stage.remove(key)

  const self = { userID: room.userID, name: own.name, role: 'anchor', protocol: 'webrtc', streams: ownStreams(), isSelf: true }
  panel.showPeople([self, ...room.members.values()])
  showControls()
}

/** What we send, described as the server describes what others send (but for the codec, which it chose). @returns {import('./sdk/roomcast.js').StreamInfo[]} */
function ownStreams() {
  const streams = []
  const track = (/** @type {MediaStreamTrack | null | undefined} */ it, /** @type {boolean} */ muted) => (it ? { codec: '', muted } : null)
  if (own.audio || own.video) streams.push({ stream: /** @type {const} */ ('main'), audio: track(own.audio, own.isMuted), video: track(own.video, !isCameraOn()) })
  if (own.screen.length > 0) streams.push({ stream: /** @type {const} */ ('aux'), audio: null, video: track(own.screen[0], false) })
  return streams
}

const isCameraOn = () => own.video?.readyState === 'live'

function showControls() {
  const isMicOn = own.audio !== null && !own.isMuted
  setButton('mic', !isMicOn, isMicOn ? 'icon-mic' : 'icon-mic-off', isMicOn ? 'Mute' : 'Unmute')
  setButton('camera', !isCameraOn(), isCameraOn() ? 'icon-camera' : 'icon-camera-off', isCameraOn() ? 'Stop camera' : 'Start camera')
  const isSharing = own.screen.length > 0
  byId('screen').hidden = !navigator.mediaDevices?.getDisplayMedia
  byId('screen').setAttribute('aria-pressed', String(isSharing))
  byId('screen').querySelector('span').textContent = isSharing ? 'Stop sharing' : 'Share screen'
}

/** @param {string} id @param {boolean} isOff @param {string} icon @param {string} label */
function setButton(id, isOff, icon, label) {
  const button = byId(id)
  button.toggleAttribute('data-off', isOff)
  button.querySelector('use').setAttribute('href', `#${icon}`)
  button.querySelector('span').textContent = label
}

async function measure() {
  const { up, down } = (await room?.stats()) ?? {}
  stage.measure(down ?? null)
  stage.measure(up ?? null)
  const pair = [...(down ?? up ?? new Map()).values()].find((stat) => stat.type === 'candidate-pair' && stat.nominated && stat.currentRoundTripTime !== undefined)
  byId('health').textContent = pair ? `Connected, ${Math.max(1, Math.round(pair.currentRoundTripTime * 1000))} ms round trip` : ''
}

/** @param {{ direction: string, state: string, reason?: string }} transport */
function onTransport({ direction, state, reason = '' }) {
  if (state !== 'closed' || !room) return
  const what = direction === 'up' ? 'What you send no longer arrives' : 'Nothing arrives from the others any more'
  complain(new RoomcastError(`transport-${direction}`, `${what} (${reason}).`, 'Check that UDP to this server is open, then leave and join again.'))
}

/** @param {{ code: number | string, message: string, advice: string }} reason */
function onClosed({ code, message, advice }) {
  clearInterval(measuring)
  for (const track of [own.audio, own.video, ...own.screen]) track?.stop()
  Object.assign(own, { audio: null, video: null, screen: [], isMuted: false, main: new MediaStream(), aux: new MediaStream() })
  const wasInside = document.body.dataset.view === 'room'
  room = null
  stage.clear()
  if (!wasInside) return // what failed was joining, and that is said by `join`
  if (code !== 0) complain(new RoomcastError(code, message, advice))
  openLobby()
  byId('join').focus()
}

// --------------------------------------------------------------------------------------------------- sending

/** Publishes what could be opened, and says what could not. @param {{ tracks: MediaStreamTrack[], error: RoomcastError | null }} opened */
async function takePart({ tracks, error }) {
  if (error) complain(error)
  if (!room) return tracks.forEach((track) => track.stop())
  for (const track of tracks) {
    const kind = /** @type {'audio' | 'video'} */ (track.kind)
    const before = own[kind]
    if (before) own.main.removeTrack(before)
    own[kind] = track
    own.main.addTrack(track)
    track.addEventListener('ended', refresh) // unplugged
  }
  refresh()
  if (tracks.length === 0) return
  const sent = [own.audio, own.video].flatMap((track) => (track?.readyState === 'live' ? [track] : []))
  await attempt(room.publish(sent, { maxVideoBps: CAMERA_BPS_MAX }))
}

async function toggleMic() {
  if (!own.audio) return takePart(await openDevices({ audio: true, video: false }))
  own.isMuted = !own.isMuted
  refresh()
  await attempt(room?.mute('main', 'audio', own.isMuted))
}

async function toggleCamera() {
  if (isCameraOn()) {
    own.video?.stop()
    refresh()
    return attempt(room?.mute('main', 'video', true))
  }
  const opened = await openDevices({ audio: false, video: true })
  const [track] = opened.tracks
  // The stream goes on with the new picture, if it had one before; else it is published anew with it.
  if (!track || !own.video || !(await room?.replaceTrack(track))) return takePart(opened)
  own.main.removeTrack(own.video)
  own.video = track
  own.main.addTrack(track)
  track.addEventListener('ended', refresh)
  refresh()
  await attempt(room?.mute('main', 'video', false))
}

async function toggleScreen() {
  if (own.screen.length > 0) return stopScreen()
  const tracks = await openScreen().catch((error) => (complain(error), []))
  if (tracks.length === 0 || !room) return
  own.screen = tracks.filter(({ kind }) => kind === 'video')
  own.aux = new MediaStream(own.screen)
  own.screen[0].addEventListener('ended', stopScreen)
  refresh()
  await attempt(room.publish(tracks, { stream: 'aux', maxVideoBps: SCREEN_BPS_MAX, degradationPreference: 'maintain-resolution' }))
}

async function stopScreen() {
  for (const track of own.screen) track.stop()
  own.screen = []
  refresh()
  await attempt(room?.unpublish('aux'))
}

/** @param {Promise<unknown> | undefined} work */
const attempt = (work) => work?.catch((error) => complain(RoomcastError.from(error)))

// -------------------------------------------------------------------------------------------------- messages

/** Shows what went wrong, with its code and what to do. @param {RoomcastError} error */
function complain({ code, message, advice }) {
  const toast = document.createElement('div')
  toast.className = 'toast'
  toast.innerHTML = '<svg class="icon"><use href="#icon-alert"/></svg><b></b><small></small><button type="button" class="icon-only" aria-label="Dismiss"><svg class="icon"><use href="#icon-close"/></svg></button>'
  const [title, text] = [toast.querySelector('b'), toast.querySelector('small')]
  if (title) title.textContent = message
  if (text) text.textContent = [advice, `Code ${code}.`].filter(Boolean).join(' ')
  toast.dataset.code = String(code)
  toast.querySelector('button')?.addEventListener('click', () => toast.remove())
  setTimeout(() => toast.remove(), TOAST_MS)
  byId('toasts').append(toast)
}

// --------------------------------------------------------------------------------------------------- controls

/** @param {boolean} isOpen */
function showPanel(isOpen) {
  document.body.dataset.panel = isOpen ? 'open' : 'closed'
  byId('panel-toggle').setAttribute('aria-pressed', String(isOpen))
}

const isPanelOpen = () => document.body.dataset.panel !== 'closed'

/** @param {string} name */
function remember(name) {
  try {
    localStorage.setItem('roomcast.name', name)
  } catch {
    // a browser that keeps nothing is no reason not to join
  }
}

function remembered() {
  try {
    return localStorage.getItem('roomcast.name')
  } catch {
    return null
  }
}

byId('name').value = address.name ?? remembered() ?? 'Guest'
byId('room-input').value = address.roomID
byId('lobby-room').textContent = address.roomID
byId('name').disabled = byId('room-input').disabled = address.ticket !== null
byId('room-input').addEventListener('input', () => (byId('lobby-room').textContent = byId('room-input').value))
byId('join-form').addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault()
  join(true)
})
byId('join-viewer').addEventListener('click', () => join(false))
byId('mic').addEventListener('click', toggleMic)
byId('camera').addEventListener('click', toggleCamera)
byId('screen').addEventListener('click', toggleScreen)
byId('leave').addEventListener('click', () => room?.leave())
byId('panel-toggle').addEventListener('click', () => showPanel(!isPanelOpen()))
byId('panel-close').addEventListener('click', () => showPanel(false))
byId('copy-link').addEventListener('click', () => room && copy(byId('copy-link'), roomLink(room.roomID)))
document.addEventListener('keydown', (event) => {
  if (!room || event.ctrlKey || event.metaKey || event.altKey || /** @type {HTMLElement} */ (event.target).closest('input, select, textarea')) return
  const button = { m: 'mic', v: 'camera', s: 'screen', p: 'panel-toggle' }[event.key.toLowerCase()]
  if (button) byId(button).click()
  if (event.key === 'Escape' && matchMedia('(max-width: 860px)').matches) showPanel(false)
})
addEventListener('pagehide', () => room?.leave())

showPanel(!matchMedia('(max-width: 860px)').matches)
openLobby()
