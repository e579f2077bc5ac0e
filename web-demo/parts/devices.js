/** Camera, microphone and screen: opening, closing, and saying in plain words why one did not open. */

import { RoomcastError } from '../sdk/roomcast.js'
import { remember, remembered } from './dom.js'
import { t } from './words.js'

/** What of each kind the person chose; empty: the system's choice. */
const KINDS = /** @type {const} */ (['videoinput', 'audioinput', 'audiooutput'])
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } }

/**
 * Opens what there is of the wanted devices.
 * @param {{ audio: boolean, video: boolean }} wanted
 * @returns {Promise<{ tracks: MediaStreamTrack[], error: RoomcastError | null }>} no tracks and an error, or some tracks and
 *   perhaps an error about the rest
 */
export async function openDevices({ audio, video }) {
  if (!navigator.mediaDevices) return { tracks: [], error: insecure() }
  try {
    return { tracks: await open(audio, video), error: null }
  } catch (problem) {
    const error = explain(/** @type {DOMException} */ (problem))
    // A missing camera must not take the microphone with it. A "no" was meant for both and is not asked again.
    if (!audio || !video || /** @type {DOMException} */ (problem).name === 'NotAllowedError') return { tracks: [], error }
    const alone = await open(false, true).catch(() => open(true, false)).catch(() => [])
    return { tracks: alone, error }
  }
}

/** @returns {Promise<MediaStreamTrack[]>} empty if the person closed the chooser @throws {RoomcastError} */
export async function openScreen() {
  if (!navigator.mediaDevices?.getDisplayMedia) throw insecure()
  try {
    const screen = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 15, max: 30 } }, audio: true })
    for (const track of screen.getVideoTracks()) track.contentHint = 'detail'
    return screen.getTracks()
  } catch (problem) {
    if (/** @type {DOMException} */ (problem).name === 'NotAllowedError') return []
    throw explain(/** @type {DOMException} */ (problem))
  }
}

/** The chosen device of a kind. @param {string} kind */
export const chosenDevice = (kind) => remembered(`device.${kind}`) ?? ''

/** @param {string} kind @param {string} deviceId */
export const chooseDevice = (kind, deviceId) => remember(`device.${kind}`, deviceId)

/** Lists the devices in every `select` that has the name of a kind in `data-device`. */
export async function listDevices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? []
  for (const select of /** @type {NodeListOf<HTMLSelectElement>} */ (document.querySelectorAll('select[data-device]'))) {
    const kind = KINDS.find((one) => one === select.dataset.device)
    const devices = all.filter((device) => device.kind === kind && device.deviceId !== '')
    select.replaceChildren(...devices.map(({ deviceId, label }, index) => new Option(label || `${index + 1}`, deviceId)))
    if (devices.length === 0) select.append(new Option(t('devices-none'), ''))
    select.disabled = devices.length === 0
    const chosen = chosenDevice(select.dataset.device ?? '')
    if (devices.some(({ deviceId }) => deviceId === chosen)) select.value = chosen
  }
}

/** @param {boolean} audio @param {boolean} video */
async function open(audio, video) {
  // Only wished for: a device that was unplugged since it was chosen is no reason to fail.
  const id = (/** @type {string} */ kind) => (chosenDevice(kind) ? { deviceId: { ideal: chosenDevice(kind) } } : {})
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: audio && { ...id('audioinput') },
    video: video && { ...CAMERA, ...id('videoinput') },
  })
  return stream.getTracks()
}

const insecure = () => new RoomcastError('insecure-page', t('insecure'), t('insecure-advice', { url: `https://${location.hostname}:8443` }))

/** @param {DOMException} problem */
function explain({ name, message }) {
  switch (name) {
    case 'NotAllowedError':
      return new RoomcastError(name, t('refused'), t('refused-advice'))
    case 'NotFoundError':
    case 'OverconstrainedError':
      return new RoomcastError(name, t('not-found'), t('not-found-advice'))
    case 'NotReadableError':
    case 'AbortError':
      return new RoomcastError(name, t('in-use'), t('in-use-advice'))
    default:
      return new RoomcastError(name, message, t('other-advice'))
  }
}
