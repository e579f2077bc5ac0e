/**
 * The demo page: a lobby, and a room. The room is drawn from what the library knows (`refresh`), whatever event it was that
 * changed it; so there is one place that decides what is seen.
 */

import { Room, RoomcastError } from './sdk/roomcast.js'
import { Chat } from './parts/chat.js'
import { Connect, copy } from './parts/connect.js'
import { chooseDevice, listDevices, openDevices, openScreen } from './parts/devices.js'
import { byId, element, icon, remember, remembered } from './parts/dom.js'
import { FlvPlayer } from './parts/flv.js'
import { Mirror } from './parts/mirror.js'
import { Numbers } from './parts/numbers.js'
import { Panel } from './parts/panel.js'
import { People } from './parts/people.js'
import { Stage } from './parts/stage.js'
import { Addresses, demoTicket, fromAddress, roomLink, signalAddress, userIDFor } from './parts/ticket.js'
import { language, setLanguage, t, translate } from './parts/words.js'

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
const CHANGES = ['member-entered', 'member-left', 'member-changed', 'room-changed', 'stream-added', 'stream-changed', 'stream-removed', 'muted', 'media']
/** Privilege bit of moderators (PROTOCOL.md). */
const MODERATOR = 256
/** Below this width the panel covers the pictures. */
const NARROW = matchMedia('(max-width: 860px)')

const address = fromAddress()
const stage = new Stage(byId('stage'))
const chat = new Chat(say)
const connect = new Connect()
const numbers = new Numbers()
const panel = new Panel((page) => chat.setOpen(page === 'chat'))
const mirror = new Mirror(complain)
const people = new People({
  kick: (userID) => attempt(room?.kick(userID)),
  silence: (userID, isSilent) => attempt(room?.muteMember(userID, { audio: isSilent, video: isSilent, messages: isSilent })),
  lock: (isLocked) => attempt(room?.updateRoom({ locked: isLocked })),
})

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
  nameLobby()
  setBusy(false)
  mirror.openIfAllowed()
  const ticket = ticketFor(byId('name').value, byId('room-input').value)
  ticket.then(showPreview, (error) => complain(RoomcastError.from(error)))
}

function nameLobby() {
  const roomID = byId('room-input').value
  document.title = t('title', { room: roomID })
  byId('lobby-title').textContent = t('join-room', { room: roomID })
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
  if (!address.ticket) remember('name', own.name)
  // Asked at once, while the click still counts; nobody's picture waits for the answer. What the mirror has open is used as it is.
  const devices = withDevices ? openMissing(mirror.take()) : null
  if (!withDevices) mirror.close()
  try {
    const ticket = await ticketFor(own.name, byId('room-input').value.trim())
    early.key = '' // one userID, one visit
    addresses = new Addresses(ticket)
    room = await Room.connect(signalAddress())
    for (const change of CHANGES) room.on(change, refresh)
    room.on('error', ({ error }) => complain(error))
    room.on('transport', onTransport)
    room.on('connection', ({ state }) => showReconnecting(state === 'reconnecting'))
    room.on('closed', onClosed)
    room.on('message', onMessage)
    room.on('speakers', showSpeakers)
    await room.enter({ ...ticket, name: own.name })
    openRoom()
    connect.open(addresses, address.ticket === null).catch((error) => complain(RoomcastError.from(error)))
  } catch (error) {
    room?.leave()
    room = null
    complain(RoomcastError.from(error))
    devices?.then(({ tracks }) => tracks.forEach((track) => track.stop()))
    return setBusy(false)
  }
  if (devices) await takePart(await devices)
}

/** What is open already, and what is missing of camera and microphone. @param {MediaStreamTrack[]} open @returns {ReturnType<typeof openDevices>} */
async function openMissing(open) {
  const has = (/** @type {string} */ kind) => open.some((track) => track.kind === kind)
  if (has('audio') && has('video')) return { tracks: open, error: null }
  const { tracks, error } = await openDevices({ audio: !has('audio'), video: !has('video') })
  return { tracks: [...open, ...tracks], error }
}

// ------------------------------------------------------------------------------------------------------- room

function openRoom() {
  if (!room) return
  preview?.stop()
  document.body.dataset.view = 'room'
  for (const element of document.querySelectorAll('[data-for]')) /** @type {HTMLElement} */ (element).hidden = /** @type {HTMLElement} */ (element).dataset.for !== 'room'
  byId('room-name').textContent = String(room.roomID)
  document.title = t('title', { room: room.roomID })
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
      const title = info.stream === 'aux' ? t('of-screen', { name }) : name
      const tile = stage.tile(key, { name: title, protocol, elsewhere: elsewhere(userID, info.stream), clockOffset })
      tile.describe(info)
      tile.show(room.mediaStream(userID, info.stream))
    }
  for (const info of ownStreams()) {
    const isScreen = info.stream === 'aux'
    const key = `own/${info.stream}`
    wanted.add(key)
    const title = isScreen ? t('your-screen') : t('is-you', { name: own.name })
    const tile = stage.tile(key, { name: title, protocol: 'webrtc', isSelf: true, isMirrored: !isScreen, elsewhere: elsewhere(room.userID, info.stream), clockOffset })
    tile.describe(info)
    tile.show(own[info.stream])
  }
  for (const key of stage.keys()) if (!wanted.has(key)) stage.remove(key)
  showSpeakers()

  const self = { userID: room.userID, name: own.name, role: room.role, protocol: 'webrtc', streams: ownStreams(), isSelf: true }
  const everybody = [self, ...room.members.values()]
  const mayKeepOrder = room.owner === room.userID || (room.privilege & MODERATOR) !== 0
  people.show(everybody, { owner: room.owner, isLocked: room.isLocked, mayKeepOrder })
  connect.showStreams(everybody)
  showControls()
}

/** Where a stream of the room plays without WebRTC. @param {string} userID @param {string} stream */
function elsewhere(userID, stream) {
  return addresses ? { flv: addresses.flv(userID, stream), hls: addresses.hls(userID, stream) } : undefined
}

const clockOffset = async () => room?.clockOffset() ?? 0

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
  setButton('mic', !isMicOn, isMicOn ? 'icon-mic' : 'icon-mic-off', t(isMicOn ? 'mute' : 'unmute'))
  setButton('camera', !isCameraOn(), isCameraOn() ? 'icon-camera' : 'icon-camera-off', t(isCameraOn() ? 'camera-stop' : 'camera-start'))
  const isSharing = own.screen.length > 0
  byId('screen').hidden = !navigator.mediaDevices?.getDisplayMedia
  byId('screen').setAttribute('aria-pressed', String(isSharing))
  byId('screen').querySelector('span').textContent = t(isSharing ? 'share-stop' : 'share')
}

/** @param {string} id @param {boolean} isOff @param {string} icon @param {string} label */
function setButton(id, isOff, icon, label) {
  const button = byId(id)
  button.toggleAttribute('data-off', isOff)
  button.querySelector('use').setAttribute('href', `#${icon}`)
  button.querySelector('span').textContent = label
}

async function measure() {
  const now = room
  const figures = await now?.figures()
  if (!figures || !now || now !== room) return
  stage.measure(figures, keyOf)
  numbers.show(figures, nameOf)
  const { roundTripMs } = figures
  byId('health').textContent = roundTripMs === null ? '' : t('connected', { ms: Math.max(1, Math.round(roundTripMs)) })
}

/** The tile of a stream. @param {{ userID: string, stream: string }} stream */
const keyOf = ({ userID, stream }) => (userID === room?.userID ? `own/${stream}` : `${stream}/${userID}`)

function showSpeakers() {
  stage.highlight((room?.speakers ?? []).map(keyOf))
}

/** What to show for a user. @param {string} userID */
const nameOf = (userID) => (userID === room?.userID ? own.name : (room?.members.get(userID)?.name ?? userID))

/** @param {{ direction: string, state: string, reason?: string }} transport */
function onTransport({ direction, state, reason = '' }) {
  if (state !== 'closed' || !room || !byId('reconnecting').hidden) return
  complain(new RoomcastError(`transport-${direction}`, t(direction === 'up' ? 'send-broken' : 'receive-broken', { reason }), t('broken-advice')))
}

/** @param {import('./sdk/roomcast.js').Message} message */
function onMessage({ from, time, text, data, desc }) {
  chat.add({ name: from === undefined ? t('server-said') : nameOf(from), text: text ?? desc ?? data ?? '', time, isSelf: from !== undefined && from === room?.userID })
}

/** @param {string} text */
async function say(text) {
  const said = room?.sendMessage({ text })
  attempt(said)
  const answer = await said
  if (answer) chat.add({ name: own.name, text, time: answer.time, isSelf: true })
}

/** The room comes back by itself; a person only has to know why nothing happens. @param {boolean} isReconnecting */
function showReconnecting(isReconnecting) {
  byId('reconnecting').hidden = !isReconnecting
  if (!isReconnecting) refresh()
}

/** @param {{ code: number | string, message: string, advice: string }} reason */
function onClosed({ code, message, advice }) {
  clearInterval(measuring)
  byId('reconnecting').hidden = true
  for (const track of [own.audio, own.video, ...own.screen]) track?.stop()
  Object.assign(own, { audio: null, video: null, screen: [], isMuted: false, main: new MediaStream(), aux: new MediaStream() })
  const wasInside = document.body.dataset.view === 'room'
  room = null
  stage.clear()
  chat.clear()
  numbers.clear()
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
  await reopen('video')
  await attempt(room?.mute('main', 'video', false))
}

/** Opens a device again, or another one; the stream goes on with it, if it had one before, and else is published anew with it. @param {'audio' | 'video'} kind */
async function reopen(kind) {
  const before = own[kind]
  before?.stop() // some systems open a camera only when the one before is closed
  const opened = await openDevices({ audio: kind === 'audio', video: kind === 'video' })
  const [track] = opened.tracks
  if (!track || !before || !(await room?.replaceTrack(track))) return takePart(opened)
  if (kind === 'audio') track.enabled = !own.isMuted
  own.main.removeTrack(before)
  own[kind] = track
  own.main.addTrack(track)
  track.addEventListener('ended', refresh)
  refresh()
}

/** @param {string} kind @param {string} deviceId */
async function switchDevice(kind, deviceId) {
  chooseDevice(kind, deviceId)
  if (kind === 'audiooutput') return attempt(stage.setSpeaker(deviceId))
  if (kind === 'videoinput' && isCameraOn()) await reopen('video')
  if (kind === 'audioinput' && own.audio) await reopen('audio')
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

/** Words of servers and libraries, which speak English; fetched while they can still be. @type {typeof import('./sdk/chinese.js') | null} */
let chinese = null
const learnWords = async () => {
  if (language() === 'zh') chinese ??= await import('./sdk/chinese.js').catch(() => null)
}

/** Shows what went wrong, with its code and what to do. @param {RoomcastError} error */
function complain(error) {
  const { code } = error
  const { message, advice } = language() === 'zh' && chinese ? chinese.inChinese(error) : error
  const toast = element('div', 'toast')
  const dismiss = element('button', 'icon-only')
  dismiss.setAttribute('aria-label', t('dismiss'))
  dismiss.append(icon('close'))
  dismiss.addEventListener('click', () => toast.remove())
  toast.append(icon('alert'), element('b', '', sentence(message)), element('small', '', [sentence(advice), t('code', { code })].filter(Boolean).join(' ')), dismiss)
  toast.dataset.code = String(code)
  // The same again is no news.
  for (const older of byId('toasts').querySelectorAll(`[data-code="${CSS.escape(String(code))}"]`)) older.remove()
  setTimeout(() => toast.remove(), TOAST_MS)
  byId('toasts').append(toast)
}

/** Servers speak in parts of sentences. @param {string} text */
const sentence = (text) => (text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?。！？]$/.test(text) ? '' : language() === 'zh' ? '。' : '.'}` : '')

// --------------------------------------------------------------------------------------------------- controls

/** @param {import('./parts/stage.js').Layout} layout */
function chooseLayout(layout) {
  stage.setLayout(layout)
  remember('layout', layout)
  for (const button of byId('layouts').querySelectorAll('[data-layout]')) {
    const isChosen = button.dataset.layout === layout
    button.setAttribute('aria-checked', String(isChosen))
    button.tabIndex = isChosen ? 0 : -1
  }
}

/** Opens the chat, or closes it if it is open. */
function toggleChat() {
  const isSeen = panel.isOpen && panel.selected === 'chat'
  panel.select('chat')
  panel.open(!isSeen)
  if (!isSeen) chat.focus()
}

async function openDoctor() {
  const { showDoctor } = await import('./parts/doctor-dialog.js')
  await showDoctor(address.ticket)
}

function changeLanguage() {
  setLanguage(language() === 'en' ? 'zh' : 'en')
  learnWords()
  nameLanguage()
  nameLobby()
  connect.draw()
  numbers.draw()
  refresh()
}

function nameLanguage() {
  const button = byId('language')
  const other = language() === 'en' ? ['中文', 'zh-CN'] : ['English', 'en']
  ;[button.textContent, button.lang] = other
}

translate(document)
learnWords()
nameLanguage()
byId('name').value = address.name ?? remembered('name') ?? t('guest')
byId('room-input').value = address.roomID
byId('name').disabled = byId('room-input').disabled = address.ticket !== null
byId('room-input').addEventListener('input', nameLobby)
byId('join-form').addEventListener('submit', (/** @type {Event} */ event) => {
  event.preventDefault()
  join(true)
})
byId('join-viewer').addEventListener('click', () => join(false))
byId('mic').addEventListener('click', toggleMic)
byId('camera').addEventListener('click', toggleCamera)
byId('screen').addEventListener('click', toggleScreen)
byId('devices').addEventListener('click', async () => {
  await listDevices()
  byId('device-dialog').showModal()
})
byId('speaker-field').hidden = !('setSinkId' in HTMLMediaElement.prototype)
for (const select of byId('device-dialog').querySelectorAll('select')) select.addEventListener('change', () => switchDevice(select.dataset.device, select.value))
byId('chat-toggle').addEventListener('click', toggleChat)
byId('leave').addEventListener('click', () => room?.leave())
byId('panel-toggle').addEventListener('click', () => panel.open(!panel.isOpen))
byId('panel-close').addEventListener('click', () => panel.open(false))
byId('copy-link').addEventListener('click', () => room && copy(byId('copy-link'), roomLink(room.roomID)))
byId('layouts').addEventListener('click', (/** @type {Event} */ { target }) => {
  const layout = /** @type {HTMLElement} */ (target).closest('[data-layout]')?.getAttribute('data-layout')
  if (layout) chooseLayout(/** @type {import('./parts/stage.js').Layout} */ (layout))
})
byId('layouts').addEventListener('keydown', (/** @type {KeyboardEvent} */ { key }) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key]
  if (!step) return
  const buttons = [...byId('layouts').querySelectorAll('[data-layout]')]
  const next = buttons[(buttons.findIndex((button) => button.tabIndex === 0) + step + buttons.length) % buttons.length]
  chooseLayout(next.dataset.layout)
  next.focus()
})
byId('stage').addEventListener('big', () => byId('stage').dataset.layout === 'grid' && chooseLayout('bigsmall'))
byId('doctor-open').addEventListener('click', openDoctor)
byId('language').addEventListener('click', changeLanguage)
document.addEventListener('keydown', (event) => {
  if (!room || event.ctrlKey || event.metaKey || event.altKey || /** @type {HTMLElement} */ (event.target).closest('input, select, textarea, dialog')) return
  const button = { m: 'mic', v: 'camera', s: 'screen', d: 'devices', c: 'chat-toggle', p: 'panel-toggle' }[event.key.toLowerCase()]
  if (button) {
    event.preventDefault() // the letter is not to land in the field that it opens
    byId(button).click()
  }
  if (event.key === 'Escape' && NARROW.matches) panel.open(false)
})
addEventListener('pagehide', () => room?.leave())

chooseLayout(/** @type {any} */ (['grid', 'bigsmall', 'float'].find((layout) => layout === remembered('layout')) ?? 'grid'))
panel.open(!NARROW.matches)
openLobby()
if (location.hash === '#doctor') openDoctor()
