/**
 * Looks whether everything that a call needs works between this browser and this server, by doing it: the doctor enters a room of its own
 * twice, and connects media once by UDP only and once by TCP only.
 */

import { checkSystemRequirements } from '../sdk/devices.js'
import { Signaling } from '../sdk/signaling.js'
import { demoTicket, fourLetters, signalAddress } from './ticket.js'
import { t } from './words.js'

/** How long media may take to connect, in milliseconds. */
const CONNECT_MS = 5000
/** Clocks this far apart begin to matter for tickets, in seconds; and here they surely do. */
const CLOCK_WARN_S = 5
const CLOCK_BAD_S = 60

/**
 * @typedef {'running' | 'good' | 'warn' | 'bad'} Verdict
 * @typedef {{ id: string, name: string, verdict: Verdict, text: string, advice: string }} Check
 */

export const CHECKS = ['signal', 'udp', 'tcp', 'tls', 'address', 'clock', 'codecs', 'devices']

/**
 * Does every check, all at once.
 * @param {import('../sdk/roomcast.js').Ticket | null} ticket  null: the demo app gives one
 * @param {(check: Check) => void} tell  called for every result as it comes
 * @returns {Promise<Verdict>} the worst of all
 */
export async function examine(ticket, tell) {
  /** @type {Verdict[]} */
  const verdicts = []
  const say = (/** @type {string} */ id, /** @type {Verdict} */ verdict, /** @type {string} */ text, advice = '') => {
    verdicts.push(verdict)
    tell({ id, name: nameOf(id), verdict, text, advice: verdict === 'good' ? '' : advice })
  }
  for (const id of CHECKS) tell({ id, name: nameOf(id), verdict: 'running', text: '', advice: '' })

  checkPage(say)
  await Promise.all([checkBrowser(say), checkDevices(say), checkServer(ticket, say)])
  return verdicts.includes('bad') ? 'bad' : verdicts.includes('warn') ? 'warn' : 'good'
}

/** @param {string} id */
const nameOf = (id) => t(id === 'devices' ? 'check-devices-name' : `check-${id}`)

/** @typedef {(id: string, verdict: Verdict, text: string, advice?: string) => void} Say */

/** @param {Say} say */
function checkPage(say) {
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)
  if (location.protocol === 'https:') say('tls', 'good', t('tls-ok'))
  else if (isHere) say('tls', 'good', t('tls-local'))
  else say('tls', 'bad', t('tls-bad'), t('tls-advice', { url: `https://${location.hostname}:8443` }))
}

/** @param {Say} say */
async function checkBrowser(say) {
  const { detail } = await checkSystemRequirements()
  if (!detail.isWebRTCSupported) return say('codecs', 'bad', t('codecs-bad'), t('codecs-advice'))
  const canBoth = (/** @type {string} */ name) => [RTCRtpSender, RTCRtpReceiver].every((side) => side.getCapabilities('video')?.codecs.some(({ mimeType }) => mimeType === `video/${name}`))
  const codecs = ['H264', 'VP8', 'VP9', 'AV1'].filter(canBoth).join(', ')
  if (detail.isH264EncodeSupported) say('codecs', 'good', t('codecs-ok', { codecs }))
  else say('codecs', 'warn', t('codecs-h264', { codecs }), t('codecs-h264-advice'))
}

/** @param {Say} say */
async function checkDevices(say) {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? []
  const count = (/** @type {string} */ kind) => all.filter((device) => device.kind === kind).length
  const [cameras, microphones] = [count('videoinput'), count('audioinput')]
  if (cameras + microphones === 0) return say('devices', 'warn', t('devices-none'), t('devices-advice'))
  say('devices', 'good', t('devices-ok', { cameras: t('n-cameras', { n: cameras }), microphones: t('n-microphones', { n: microphones }) }))
}

/** @param {import('../sdk/roomcast.js').Ticket | null} ticket @param {Say} say */
async function checkServer(ticket, say) {
  // With a ticket of the person's own there is one name only, and so one visit.
  const visits = await Promise.all((ticket ? [ticket] : [null, null]).map((given) => Visit.begin(given).catch(() => null)))
  const [first, second = first] = visits
  if (!first || !second) {
    say('signal', 'bad', t('signal-bad', { url: signalAddress() }), t('signal-advice'))
    for (const id of ['udp', 'tcp', 'address', 'clock']) say(id, 'bad', t('path-not-tried'))
    return
  }
  try {
    const { ms, clockMs } = await first.beat()
    say('signal', 'good', t('signal-ok', { ms: Math.max(1, Math.round(ms)) }))
    const apart = Math.abs(clockMs) / 1000
    say('clock', apart > CLOCK_BAD_S ? 'bad' : apart > CLOCK_WARN_S ? 'warn' : 'good', t('clock-ok', { s: apart.toFixed(1) }), t('clock-advice'))
    const udp = first.connect('udp')
    const tcp = first === second ? udp.then(() => first.connect('tcp')) : second.connect('tcp')
    await Promise.all([udp.then((path) => sayPath(say, 'udp', path)), tcp.then((path) => sayPath(say, 'tcp', path))])
    // Whichever way media comes, the address was right then.
    checkAddress(say, (await udp).ms === null ? await tcp : await udp)
  } finally {
    for (const visit of visits) visit?.end()
  }
}

/** @param {Say} say @param {'udp' | 'tcp'} kind @param {Path} path */
function sayPath(say, kind, { offered, ms, where }) {
  const worst = kind === 'udp' ? 'bad' : 'warn'
  if (offered.length === 0) return say(kind, worst, t('path-not-offered'), t(`${kind}-advice`))
  if (ms === null) return say(kind, worst, t('path-bad', { s: CONNECT_MS / 1000 }), t(`${kind}-advice`))
  say(kind, 'good', t('path-ok', { ms: Math.round(ms), where }))
}

/** Behind NAT servers tend to name addresses that only they themselves can reach. @param {Say} say @param {Path} path */
function checkAddress(say, { offered, ms, where }) {
  const { hostname } = location
  if (ms !== null) return say('address', 'good', t('address-ok', { where }))
  const isElsewhere = offered.every((address) => !address.startsWith(`${hostname}:`)) && hostname !== 'localhost'
  if (isElsewhere) say('address', 'bad', t('address-bad', { host: hostname, where: offered.join(', ') }), t('address-advice'))
  else say('address', 'warn', t('address-bad', { host: hostname, where: offered.join(', ') || '—' }), t('address-advice'))
}

/** @typedef {{ offered: string[], ms: number | null, where: string }} Path  `ms` is null if nothing connected */

/** One stay in a room of the doctor's own. */
class Visit {
  #signaling
  /** @type {RTCPeerConnection | null} */ #connection = null

  /** @param {Signaling} signaling */
  constructor(signaling) {
    this.#signaling = signaling
  }

  /** @param {import('../sdk/roomcast.js').Ticket | null} given */
  static async begin(given) {
    const ticket = given ?? (await demoTicket(`doctor-${fourLetters()}`, `doctor-${fourLetters()}`))
    const signaling = await Signaling.open(signalAddress())
    const { sdkAppID, userID, userSig, roomID, privateMapKey } = ticket
    await signaling.request('enter', { sdkAppID, userID, userSig, roomID, privateMapKey }).catch((error) => {
      signaling.close(error)
      throw error
    })
    return new Visit(signaling)
  }

  /** How long the server takes to answer, and by how much its clock is ahead; in milliseconds. */
  async beat() {
    const sent = performance.now()
    const { now } = await this.#signaling.request('heartbeat')
    const ms = performance.now() - sent
    return { ms, clockMs: now + ms / 2 - Date.now() }
  }

  /** Connects by one transport only, by not hearing of the other. @param {'udp' | 'tcp'} protocol @returns {Promise<Path>} */
  async connect(protocol) {
    this.#connection?.close()
    const connection = (this.#connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' }))
    connection.addTransceiver('audio', { direction: 'sendonly' })
    await connection.setLocalDescription()
    const { sdp } = await this.#signaling.request('publish', { sdp: connection.localDescription?.sdp, tracks: [{ mid: '0', stream: 'main' }] })
    const lines = sdp.split('\r\n')
    const isOther = (/** @type {string} */ line) => line.startsWith('a=candidate:') && line.split(' ')[2].toLowerCase() !== protocol
    const offered = lines.filter((/** @type {string} */ line) => line.startsWith('a=candidate:') && !isOther(line)).map((/** @type {string} */ line) => place(line.split(' ')[4], line.split(' ')[5]))
    const started = performance.now()
    const connected = new Promise((resolve) => {
      connection.addEventListener('connectionstatechange', () => connection.connectionState === 'connected' && resolve(true))
      setTimeout(() => resolve(false), offered.length > 0 ? CONNECT_MS : 0)
    })
    await connection.setRemoteDescription({ type: 'answer', sdp: lines.filter((/** @type {string} */ line) => !isOther(line)).join('\r\n') })
    const ms = (await connected) ? performance.now() - started : null
    // Browsers keep the address to themselves as long as the page may not use the camera; it is one of those that were offered.
    return { offered, ms, where: ms === null ? '' : (await selectedAddress(connection)) || offered.join(', ') }
  }

  end() {
    this.#connection?.close()
    this.#signaling.request('leave').catch(() => {})
    setTimeout(() => this.#signaling.close(/** @type {any} */ (new Error('the examination is over'))), 200)
  }
}

/** @param {RTCPeerConnection} connection */
async function selectedAddress(connection) {
  /** @type {any} */
  const report = await connection.getStats()
  const stats = [...report.values()]
  const pair = stats.find(({ type, nominated, state }) => type === 'candidate-pair' && nominated && state === 'succeeded')
  const { address, port } = report.get(pair?.remoteCandidateId) ?? {}
  return address ? place(address, port) : ''
}

/** @param {string} address @param {string | number} port */
const place = (address, port) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)
