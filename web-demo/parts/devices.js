/** Camera, microphone and screen: opening, closing, and saying in plain words why one did not open. */

import { RoomcastError } from '../sdk/roomcast.js'

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

/** @param {boolean} audio @param {boolean} video */
async function open(audio, video) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio, video: video && CAMERA })
  return stream.getTracks()
}

const insecure = () =>
  new RoomcastError('insecure-page', 'Browsers open cameras only on https and on localhost.', `Open this page as https://${location.hostname}:8443 or on the server itself as http://localhost.`)

/** @param {DOMException} problem */
function explain({ name, message }) {
  switch (name) {
    case 'NotAllowedError':
      return new RoomcastError(name, 'Camera and microphone were not allowed.', 'You are watching. To take part, allow them in the address bar and press the camera button.')
    case 'NotFoundError':
    case 'OverconstrainedError':
      return new RoomcastError(name, 'No camera or no microphone was found.', 'Plug one in and press its button, or go on without.')
    case 'NotReadableError':
    case 'AbortError':
      return new RoomcastError(name, 'The camera or the microphone is in use by another program.', 'Close the other program and press the button again.')
    default:
      return new RoomcastError(name, message, 'Go on without, or try again.')
  }
}
